"""Parts of other packages: used by name, and told of in one line if they are broken."""

from importlib.metadata import EntryPoint

import pytest

from l1scout.core import registry
from l1scout.core.registry import Registry
from l1scout.errors import InputError
from l1scout.formats.wire_format import WIRE_FORMATS


@pytest.fixture
def announced(monkeypatch):
    """Pretend that packages announce parts: entry points by group, as (name, value)."""
    groups = {}

    def entry_points(group, _path):
        points = [EntryPoint(name, value, group) for name, value in groups.get(group, [])]
        return {point.name: [p for p in points if p.name == point.name] for point in points}

    monkeypatch.setattr(registry, "_entry_points", entry_points)
    return groups


def test_groups_have_no_spaces(announced):
    """Tools that make packages refuse groups with other than letters, numbers and underscores."""
    announced["l1scout.wire_formats"] = [("other", "json:loads")]
    assert "other" in list(WIRE_FORMATS)
    assert WIRE_FORMATS.describe("other").startswith("JSON")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_package.module:Part", r"ModuleNotFoundError: No module named 'no_such_package'"),
        ("json:no_such_part", "AttributeError: module 'json' has no attribute 'no_such_part'"),
    ],
)
def test_what_cannot_be_imported_is_told_in_a_line(announced, value, why):
    announced["l1scout.things"] = [("broken", value)]
    things = Registry("things", "l1scout.formats.streams")
    assert "broken" in list(things)
    things.describe("broken")  # help does not fail
    with pytest.raises(InputError, match=f"broken, one of the things of .*: {why}.: repair") as said:
        things.find("broken")
    assert "\n" not in str(said.value)


def test_two_packages_with_parts_of_one_name(announced):
    announced["l1scout.things"] = [("one", "json:loads"), ("one", "json:dumps")]
    things = Registry("things", "l1scout.formats.streams")
    with pytest.raises(InputError, match="two things, of json:dumps and json:loads: uninstall one"):
        things.find("one")

"""Every format that holds scouting data, converted to every format that can be written."""

from pathlib import Path

import pytest

import conversion_matrix

PAGE = Path(__file__).parents[2] / "docs/convert.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return conversion_matrix.matrix_of(tmp_path_factory.mktemp("matrix"))


@pytest.mark.long
def test_what_is_not_listed_as_lost_comes_back(made):
    _, done = made
    assert len(done) == 13 * 11
    for conversion in done:
        try:
            conversion_matrix.check(conversion)
        except (AssertionError, KeyError) as error:
            msg = f"{conversion.source} to {conversion.target}: {error}"
            raise AssertionError(msg) from error


@pytest.mark.long
def test_the_page_has_the_matrix(made):
    """Make it anew with `make docs` if formats hold more, or less, than before."""
    text, _ = made
    assert PAGE.read_text("utf-8") == conversion_matrix.in_page(PAGE, text)

"""Cards are read from other people's disks: every broken one is one line, not a traceback."""

import json

import pytest

from l1scout.errors import InputError
from l1scout.model.card import read_card
from l1scout.model.directory import load_model
from l1scout.training.save_model import save


@pytest.fixture(scope="module")
def good(tmp_path_factory, trained):
    path = tmp_path_factory.mktemp("card") / "model"
    save(trained, path)
    return json.loads((path / "card.json").read_text())


def change(card, *keys, value=None, drop=False):
    card = json.loads(json.dumps(card))
    at = card
    for key in keys[:-1]:
        at = at[key]
    if drop:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return card


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "card", "has format 'card', version 1, but this program reads"),
        (("version",), 2, "version 2, but this program reads"),
        (("version",), None, "version None"),
        (("version",), True, "version True"),
        (("more",), 1, "more: Unexpected"),
        (("inputs",), {}, "inputs: .*array"),
        (("inputs",), [], "no inputs"),
        (("inputs", 0), 7, r"inputs\.0: "),
        (("inputs", 0, "scale"), 0, "scale 0"),
        (("outputs", 0, "scale"), 1e-320, "scale 1e-320"),
        (("outputs", 0, "offset"), 1e300, "offset 1e.300"),
        (("inputs", 0, "scale"), "wide", r"inputs\.0\.scale: .*number"),
        (("inputs", 0, "offset"), float("nan"), "not JSON"),
        (("inputs", 0, "offset"), 10**400, r"inputs\.0\.offset: .*number"),
        (("inputs", 0, "name"), "hwDXY", "domain is missing for hwDXY"),
        (("outputs", 2, "offset"), None, r"outputs\.2\.offset: "),
        (("outputs", 2, "unit"), 3, r"outputs\.2\.unit: .*string"),
        (("domain",), [], "domain: "),
        (("domain", "hwPt"), [90, 6], "from high to low for hwPt"),
        (("domain", "hwPt"), [6], r"domain\.hwPt"),
        (("domain", "hwPt"), 6, r"domain\.hwPt"),
        (("domain", "hwPt"), [6.5, 90], r"domain\.hwPt\.0: .*integer"),
        (("finders",), [], "finders: name each"),
        (("finders",), ["bmtf", "bmtf"], "finders: name each"),
        (("finders",), ["barrel"], r"finders\.0: "),
        (("name",), 4, "name: .*string"),
        (("onnx",), None, "onnx: "),
        (("network", "file"), "../model.onnx", r"network\.file: "),
        (("network", "format"), "pickle", r"network\.format: "),
        (("resolution",), 3, "resolution: "),
        (("resolution", "values"), None, r"resolution\.values: "),
        (("resolution", "edges"), {}, "bins are in hwPt, hwEta, hwEtaAtVtx, hwQual"),
        (("resolution", "edges", "recoPt"), [1], "bins are in hwPt, hwEta, hwEtaAtVtx, hwQual"),
        (("resolution", "edges", "hwQual"), [1], "bins in hwQual, which is not an input"),
        (("resolution", "edges", "hwPt"), 6, r"resolution\.edges\.hwPt: "),
        (("resolution", "edges", "hwPt"), [], "edges of hwPt are not strictly increasing"),
        (("resolution", "edges", "hwPt"), [6, 6], "edges of hwPt are not strictly increasing"),
        (("resolution", "edges", "hwPt"), [6, 7.5], r"edges\.hwPt\.1: .*integer"),
        (("resolution", "edges", "hwPt"), [9, 6], "edges of hwPt are not strictly increasing"),
        (("resolution", "edges", "hwPt"), ["a", "b"], r"edges\.hwPt\.0: .*integer"),
        (("resolution", "edges", "hwPt"), [6, 1 << 70], "edges of hwPt are not strictly increasing"),
        (("resolution", "edges", "hwPt"), list(range(600)), "cells of phi, eta, pt"),
        (("resolution", "values", "phi"), [0.1], "phi is not .* positive numbers"),
        (("resolution", "values", "mass"), [0.1], "cells of phi, eta, pt, mass"),
        (("resolution", "values", "eta", 0), -0.1, "eta is not .* positive numbers"),
        (("resolution", "values", "eta", 0), 0, "eta is not .* positive numbers"),
        (("resolution", "values", "eta", 0), "0.1", r"values\.eta\.0: .*number"),
        (("resolution", "values", "eta", 0), True, r"values\.eta\.0: .*number"),
        (("resolution", "values", "pt", 1), float("nan"), "not JSON"),
        (("resolution", "values", "pt", 1), float("inf"), "not JSON"),
        (("resolution", "values", "pt", 1), 10**400, "pt"),
        (("resolution", "values", "pt", 1), 1e-300, "pt is not .* positive numbers"),
        (("resolution", "values", "pt", 1), [0.1], r"values\.pt\.1: .*number"),
    ],
)
def test_wrong_entries_are_named(tmp_path, good, keys, value, message):
    (tmp_path / "card.json").write_text(json.dumps(change(good, *keys, value=value)))
    with pytest.raises(InputError, match=message):
        read_card(tmp_path)


def test_cards_without_uncertainties_stay_readable(tmp_path, good):
    (tmp_path / "card.json").write_text(json.dumps(change(good, "resolution", drop=True)))
    assert read_card(tmp_path).resolution is None


def test_every_missing_entry_is_named(tmp_path, good):
    for key in good.keys() - {"reference", "resolution", "provenance", "network"}:
        (tmp_path / "card.json").write_text(json.dumps(change(good, key, drop=True)))
        with pytest.raises(InputError, match=f"{key}: Field required|has format .*None|version None"):
            read_card(tmp_path)
    for key in ("name", "unit", "offset", "scale"):
        (tmp_path / "card.json").write_text(json.dumps(change(good, "outputs", 1, key, drop=True)))
        with pytest.raises(InputError, match=rf"outputs\.1\.{key}: Field required"):
            read_card(tmp_path)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(change(good, "network", drop=True)))
    with pytest.raises(InputError, match="names no network"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100_000, b" " * (1 << 21), b"null"]
)
def test_what_is_no_card_is_refused(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_card(tmp_path)
    assert str(tmp_path / "card.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_no_model_at_all(tmp_path):
    with pytest.raises(InputError, match=r"a model is a directory that `l1scout train` wrote"):
        read_card(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be read"):
        read_card(tmp_path / "file")

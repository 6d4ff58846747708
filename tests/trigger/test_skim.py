"""Skims keep what their expression selects, and windows around it, and every later rate is right."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gt_files import random_objects, write_raw
from l1scout.cli import make_app
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from l1scout.trigger.skim import Skim
from l1scout.trigger.skim_expression import skim_menu
from menu_documents import algorithm, cut, menu_xml

FIRST, ORBITS = 100, 6
DIMUON = "comb{MU10[QLTY>=4], MU5}[OS]"


@pytest.fixture(scope="module")
def objects():
    return random_objects(seed=3, first=FIRST, orbits=ORBITS, rows=1200)


def by_orbit(data):
    for orbit in range(FIRST, FIRST + ORBITS):
        yield OrbitData(
            {n: b.take(np.flatnonzero(b.orbit == orbit), n_orbits=1) for n, b in data.streams.items()}
        )


def times(batch):
    return (batch.orbit - FIRST) * 3564 + batch.bx - 1


def selected_by_hand(text, objects):
    """The crossings that fulfil an expression, with all crossings of all orbits laid out."""
    return np.flatnonzero(emulate(skim_menu(text), inputs_of_orbits(objects, FIRST, ORBITS)).bits["skim"])


def apply(text, chunks, **options):
    skim = Skim(skim_menu(text), **options)
    return list(skim.apply(chunks)), skim.counts


@pytest.mark.parametrize("window", [0, 1, 40])
@pytest.mark.parametrize("text", [DIMUON, "MU20 AND JET50-1", "JET100"])
def test_what_is_kept(objects, text, window):
    """Windows reach over the ends of orbits and of batches."""
    selected = selected_by_hand(text, objects)
    near = np.unique((selected[:, None] + np.arange(-window, window + 1)).ravel())
    for chunks in ([objects], by_orbit(objects)):
        kept, counts = apply(text, chunks, window=window)
        for name, batch in objects.streams.items():
            wanted = np.flatnonzero(np.isin(times(batch), near))
            assert 0 < len(wanted) < len(batch)
            got = [part.streams[name] for part in kept]
            expected = batch.take(wanted)
            assert np.concatenate([times(b) for b in got]).tolist() == times(expected).tolist()
            for column in batch.columns:
                np.testing.assert_array_equal(np.concatenate([b[column] for b in got]), expected[column])
        assert counts.selected == len(selected) > 5
        assert counts.orbits == ORBITS
        assert sum(part.main.n_orbits for part in kept) == ORBITS
        flags = np.concatenate([part.selections["SelBx_Skim"] for part in kept])
        flagged = np.concatenate([times(part.selections) for part in kept])[flags]
        assert counts.selected_without_object == len(selected) - len(flagged)
        assert set(flagged.tolist()) <= set(selected.tolist())


def test_orbits_without_anything_that_is_kept_count(objects):
    kept, counts = apply("MU250", by_orbit(objects))
    assert (counts.selected, counts.kept, counts.orbits) == (0, 0, ORBITS)
    assert [part.main.n_orbits for part in kept] == [1] * ORBITS
    assert counts.as_dict()["selected_rate_hz"] == 0


def test_rates_are_those_of_the_selection(objects):
    _, counts = apply(DIMUON, [objects])
    rate = len(selected_by_hand(DIMUON, objects)) / ORBITS * ORBIT_FREQUENCY_HZ
    assert counts.as_dict()["selected_rate_hz"] == pytest.approx(rate)
    assert counts.as_dict()["selected_rate_uncertainty_hz"] == pytest.approx(rate / counts.selected**0.5)


def test_a_skim_of_a_skim_keeps_both_flags(objects):
    first, _ = apply("MU5", [objects])
    (both,) = [part.selections for part in Skim(skim_menu("MU20"), name="SelBx_Hard").apply(first)]
    assert set(both.columns) == {"SelBx_Skim", "SelBx_Hard"}
    assert both["SelBx_Skim"].all()
    assert both["SelBx_Hard"].sum() == len(selected_by_hand("MU20", objects))


def test_the_same_flag_twice_is_refused(objects):
    first, _ = apply("MU5", [objects])
    with pytest.raises(InputError, match="another name"):
        apply("MU20", first)


@pytest.fixture(scope="module")
def menu(tmp_path_factory):
    path = tmp_path_factory.mktemp("menu") / "menu.xml"
    quality = cut("MU-QLTY_SNGL", "QLTY", data="12,13,14,15")
    path.write_text(
        menu_xml(
            algorithm(0, "MU22[MU-QLTY_SNGL]", quality, name="L1_SingleMu22"),
            algorithm(1, "comb{MU15, MU7}", name="L1_DoubleMu_15_7"),
            algorithm(2, "AXO[A]", name="L1_AXO"),
        )
    )
    return load_menu(path)


def test_algorithms_of_a_menu_by_their_names(objects, menu):
    text = "L1_SingleMu22 OR (L1_DoubleMu_15_7 AND NOT JET60)"
    spelled = "MU22[QLTY >= 12] OR (comb{MU15, MU7} AND NOT JET60)"
    (part,) = Skim(skim_menu(text, menu)).apply([objects])
    wanted = selected_by_hand(spelled, objects)
    assert times(part.selections)[part.selections["SelBx_Skim"]].tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("L1_SingleMu23", "no such algorithm"),
        ("L1_AXO", "neural network"),
        ("MU22[", "it ends"),
        ("MU3 OR MU5 AND MU7", "add brackets"),
        ("NOT MU5", "without any object"),
        ("EXT_BPTX.v0", "no external signals"),
        ("EG20", "no egamma"),
    ],
)
def test_what_cannot_be_selected_is_refused(objects, menu, text, why):
    with pytest.raises(InputError, match=why):
        list(Skim(skim_menu(text, menu)).apply([objects]))


def test_windows_are_limited(menu):
    for window in (-1, 3564):
        with pytest.raises(InputError, match="window"):
            Skim(skim_menu("MU5"), window)


def run(*arguments):
    return CliRunner().invoke(make_app(), ["skim", *map(str, arguments)])


def test_command_and_file(objects, tmp_path):
    source = write_raw(tmp_path / "run.raw", objects, range(FIRST, FIRST + ORBITS))
    target = tmp_path / "dimuons.root"
    result = run(source, target, "--when", DIMUON, "--window", 2, "--json")
    assert result.exit_code == 0, result.output
    numbers = json.loads(result.stdout)
    wanted = selected_by_hand(DIMUON, objects)
    assert (numbers["selected"], numbers["orbits"]) == (len(wanted), ORBITS)
    parts = list(read_batches([target]))
    assert sum(part.main.n_orbits for part in parts) == ORBITS
    assert {*parts[0].streams} >= {"muon", "jet"}
    flags = np.concatenate([p.selections["SelBx_Skim"] for p in parts])
    assert flags.sum() == len(wanted)
    again = Skim(skim_menu(DIMUON), name="SelBx_Again")
    assert sum(1 for _ in again.apply(parts)) == len(parts)
    assert again.counts.selected == len(wanted)  # the neighbours at which nothing looks are not needed
    assert again.counts.as_dict()["selected_rate_hz"] == numbers["selected_rate_hz"]


def test_crossings_by_orbit_and_bx(objects, tmp_path):
    source = write_raw(tmp_path / "run.raw", objects, range(FIRST, FIRST + ORBITS))
    muons = objects.streams["muon"]
    rows = [len(muons) // 3, len(muons) // 2]
    named = ",".join(f"{muons.orbit[row]}:{muons.bx[row]}" for row in rows)
    result = run(
        source, tmp_path / "some.root", "--crossings", f"{named},{FIRST + ORBITS}:1", "--window", 1, "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["selected"] == len(rows)
    (part,) = read_batches([tmp_path / "some.root"])
    flags = part.selections
    flagged = times(flags)[flags["SelBx_Skim"]]
    assert flagged.tolist() == times(muons)[rows].tolist()
    assert np.abs(times(flags)[:, None] - flagged).min(axis=1).max() <= 1


def test_formats_with_and_without_flags(objects, tmp_path):
    """A .raw file has no flags: it holds a skim in which every crossing is selected, and no other."""
    source = write_raw(tmp_path / "run.raw", objects, range(FIRST, FIRST + ORBITS))
    target = tmp_path / "skim.raw"
    result = run(source, target, "--when", DIMUON)
    assert result.exit_code == 0, result.output
    parts = list(read_batches([target]))
    assert sum(part.main.n_orbits for part in parts) == ORBITS
    kept, _ = apply(DIMUON, [objects])
    for name in ("muon", "jet"):
        assert sum(p.streams[name].n_objects for p in parts) == sum(p.streams[name].n_objects for p in kept)
    result = run(source, tmp_path / "b.raw", "--when", DIMUON, "--window", 1)
    assert isinstance(result.exception, InputError)
    assert "selection SelBx_Skim" in str(result.exception)
    result = run(source, tmp_path / "table", "--when", DIMUON, "--window", 1)
    assert result.exit_code == 0, result.output
    parts = list(read_batches(expand([tmp_path / "table"])[0]))
    assert sum(p.selections["SelBx_Skim"].sum() for p in parts if p.selections is not None) > 5


def test_command_says_what_is_wrong(objects, tmp_path):
    source = write_raw(tmp_path / "run.raw", objects, range(FIRST, FIRST + ORBITS))
    for arguments, why in (
        ((source, tmp_path / "a.root", "--when", "L1_X"), "--menu"),
        ((source, tmp_path / "a.root", "--when", "MU5", "--follow"), "--follow needs --run"),
        ((source, source, "--when", "MU5"), "is the input itself"),
        ((source, tmp_path / "a.root", "--crossings", "101:3565"), "'101:3565' is not ORBIT:BX"),
        ((source, tmp_path / "a.root", "--crossings", "101:1", "--when", "MU5"), "say what to keep"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, InputError)
        assert why in str(result.exception)
        assert not (tmp_path / "a.root").exists()

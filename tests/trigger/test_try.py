"""Algorithms of one's own: the how-to of the documentation, and what they add to a menu."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.analysis.common.tried_rates import try_algorithms, with_recalibration
from l1scout.cli import make_app
from l1scout.core.orbit_batch import concatenate, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ, crossing
from l1scout.simulate.run import Running, simulate_run
from l1scout.trigger.decider import read_tried
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from menu_documents import ONLY_MUONS

DOCS = Path(__file__).parents[2] / "docs" / "menu.md"
ORBITS = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two files of the how-to."""
    folder = tmp_path_factory.mktemp("try")
    text = DOCS.read_text("utf-8").partition("## Try your own trigger\n")[2].partition("\n## ")[0]
    for language, name in (("toml", "mine.toml"), ("python", "mine.py")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (folder / name).write_text(block)
    (folder / "menu.toml").write_text(ONLY_MUONS)
    return folder


@pytest.fixture(scope="module")
def muons():
    running = Running(occupancy=0.1, intermediate=0.3)
    return concatenate([p.muons for p in simulate_run(5, ORBITS, running=running, chunk=10)])


class Model:
    """Stands for a network: 10 % more pT, known to 10 %."""

    def __call__(self, columns):
        pt = np.float32(0.55) * (columns["hwPt"] - 1)
        return SimpleNamespace(
            pt=pt,
            eta=columns["hwEtaAtVtx"] * np.float32(0.010875),
            phi=columns["hwPhiAtVtx"] * np.float32(2 * np.pi / 576),
            recalibrated=np.ones(pt.size, np.bool_),
            pt_error=pt / 10,
            eta_error=None,
            phi_error=None,
        )


def tried(path, muons, menu=None, factors=None):
    found = try_algorithms(read_tried(path, menu), [OrbitData.of_muons(muons)], factors, Model())
    assert found["not_evaluated"] == {}
    return {row["algorithm"]: row for row in found["algorithms"]}, found


def test_toml_of_the_how_to(files, muons):
    rows, _ = tried(files / "mine.toml", muons)
    assert list(rows) == ["Close_pair", "Hard_recalibrated", "Two_in_a_row"]
    inputs = inputs_of_orbits(with_recalibration(OrbitData.of_muons(muons), Model()), 0, ORBITS)
    bits = emulate(load_menu(files / "mine.toml"), inputs).bits
    assert {n: row["crossings"] for n, row in rows.items()} == {n: int(b.sum()) for n, b in bits.items()}
    final = final_muons(muons)
    good = (final["hwQual"] >= 12) & (abs(final["hwEtaAtVtx"]) <= 76) & (0.55 * (final["hwPt"] - 1) >= 18)
    assert rows["Hard_recalibrated"]["crossings"] == len(np.unique(final.row[good])) > 0
    assert rows["Two_in_a_row"]["crossings"] > 0


def test_python_of_the_how_to(files, muons):
    rows, _ = tried(files / "mine.py", muons)
    final = final_muons(muons)
    pt = 0.5 * (final["hwPt"] - 1.0)
    time = crossing(final.orbit, final.bx)[final.row]
    after = set(time[pt >= 20].tolist()) & set((time[pt < 5] + 3).tolist())
    assert rows["Hard_after_soft"]["crossings"] == len(after) > 0
    precise = 0
    for start, stop in zip(final.offsets[:-1].tolist(), final.offsets[1:].tolist(), strict=True):
        precise += any(close_to_upsilon(final, i, j) for i in range(start, stop) for j in range(start, i))
    assert rows["Precise_pair"]["crossings"] == precise > 0
    assert rows["Precise_pair"]["rate_hz"] == pytest.approx(precise * ORBIT_FREQUENCY_HZ / ORBITS)


def close_to_upsilon(muons, i, j):
    if muons["hwCharge"][i] == muons["hwCharge"][j]:
        return False
    pt, eta, phi = (
        scale * (muons[name][[i, j]] - shift)
        for name, scale, shift in (
            ("hwPt", 0.55, 1),
            ("hwEtaAtVtx", 0.010875, 0),
            ("hwPhiAtVtx", np.pi / 288, 0),
        )
    )
    mass = np.sqrt(2 * pt.prod() * (np.cosh(eta[0] - eta[1]) - np.cos(phi[0] - phi[1])))
    return abs(mass - 9.46) < 2 * 0.5 * np.hypot(0.1, 0.1) * mass


def test_what_an_algorithm_adds_to_a_menu(files, muons):
    menu = load_menu(files / "menu.toml")
    factors = {"L1_SingleMu5": 0, "L1_SingleMu22": 100, "L1_DoubleMu": 400, "L1_Isolated": 0, "L1_Empty": 0}
    rows, found = tried(files / "mine.toml", muons, menu, factors)
    inputs = inputs_of_orbits(with_recalibration(OrbitData.of_muons(muons), Model()), 0, ORBITS)
    own, other = emulate(load_menu(files / "mine.toml"), inputs).bits, emulate(menu, inputs).bits
    any_ = np.logical_or.reduce(list(other.values()))
    hz = ORBIT_FREQUENCY_HZ / ORBITS
    assert found["menu"]["total_rate_hz"]["value"] == pytest.approx(any_.sum() * hz)
    for name, row in rows.items():
        assert row["not_in_menu_hz"] == pytest.approx((own[name] & ~any_).sum() * hz)
        for shared in row["most_shared"]:
            both = (own[name] & other[shared["algorithm"]]).sum()
            assert shared["crossings"] == both
            assert shared["share"] == pytest.approx(both / own[name].sum())
        free = own[name] & ~other["L1_SingleMu22"]
        added = (free & ~other["L1_DoubleMu"]).sum() + 0.75 * (free & other["L1_DoubleMu"]).sum()
        assert row["added_after_prescales_hz"] == pytest.approx(added * hz, rel=1e-6)


def test_a_function_may_fire_where_nothing_is(tmp_path, muons):
    path = tmp_path / "own.py"
    path.write_text(
        "import awkward as ak\nfrom l1scout.trigger.own_algorithms import own_algorithm\n"
        "@own_algorithm('Quiet', reach=1)\n"
        "def quiet(c):\n"
        "    return (ak.num(c.objects('muon')) == 0) & (ak.num(c.objects('muon', 1)) == 0)\n"
        "@own_algorithm('Same')\ndef same(c):\n    return c.decided('Quiet')\n"
    )
    rows, _ = tried(path, muons)
    final = final_muons(muons)
    occupied = np.zeros(ORBITS * BX_PER_ORBIT + 1, np.bool_)
    occupied[crossing(final.orbit, final.bx)] = True
    assert (
        rows["Quiet"]["crossings"] == rows["Same"]["crossings"] == int((~occupied[:-1] & ~occupied[1:]).sum())
    )


HEAD = "from l1scout.trigger.own_algorithms import own_algorithm\n@own_algorithm('A')\ndef a(c):\n    return "


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_module", "cannot be run: ModuleNotFoundError"),
        ("x = 1", "has no function with @own_algorithm"),
        ("def f(:", "cannot be run: SyntaxError"),
        (HEAD.replace("'A'", "'A', reach=101"), "not within 0..100"),
        (HEAD + "1 / 0", r"algorithm A: ZeroDivisionError.*line 4 of own.py"),
        (HEAD + "[True]", "returned bool of shape"),
        (HEAD + "[1] * len(c)", "returned int64 of shape"),
        (HEAD + "c.objects('jet')", r"the data have no jet, but muon, line 4 of own.py"),
        (HEAD + "exit(3)", "algorithm A: SystemExit"),
        (HEAD + "c.objects('muon', 1)", "beyond the reach of 0"),
        (HEAD + "c.decided('L1_X')", "no algorithm L1_X"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, muons, text, why):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        tried(path, muons)


def test_names_must_differ_and_recalibration_needs_a_model(files, muons):
    menu = load_menu(files / "menu.toml")
    with pytest.raises(InputError, match="same name: L1_DoubleMu"):
        read_tried(files / "menu.toml", menu)
    found = try_algorithms(read_tried(files / "mine.toml", menu), [OrbitData.of_muons(muons)], None)
    assert found["not_evaluated"] == {"Hard_recalibrated": "the muons are not recalibrated: give a model"}


def test_the_command(files):
    def run(*words):
        return CliRunner().invoke(make_app(), ["menu", "try", *map(str, words)], env={"COLUMNS": "200"})

    own = files / "own.toml"
    own.write_text('[[algorithm]]\nname = "A"\nexpression = "MU7 AND NOT MU7-2"\n')
    found = json.loads(run(own, "--simulate", 20, "--menu", files / "menu.toml", "--json").stdout)
    (row,) = found["algorithms"]
    assert (row["algorithm"], found["simulated"], found["orbits"]) == ("A", True, 20)
    text = run(own, "--simulate", 20, "--menu", files / "menu.toml").stdout
    assert text.startswith("simulat")
    assert f"{row['crossings']:,}" in text
    assert "A shares with" in text
    assert "give data, or --simulate" in str(run(own).exception)
    assert "give --menu, too" in str(run(own, "--simulate", 2, "--prescales", own).exception)


def test_boards_in_a_folder_are_one_run_and_streams_without_an_algorithm_are_skipped(tmp_path):
    """Muons and jets of the same orbits in two files count once; stubs alone are no error but a note."""
    from l1scout.io.format_writer import write_data
    from stream_files import every

    data = every(names=["muon", "jet", "stub"], orbits=40)
    (tmp_path / "boards").mkdir()
    for name, batch in data.streams.items():
        write_data([OrbitData({name: batch})], tmp_path / f"boards/{name}.dat", "packets", drop=True)
    algorithms = [("L1_M", "MU3"), ("L1_J", "JET30"), ("L1_Both", "MU3 AND JET30")]
    table = '[[algorithm]]\nname = "{}"\nindex = {}\nexpression = "{}"\n'
    menu = tmp_path / "menu.toml"
    menu.write_text("".join(table.format(name, k, text) for k, (name, text) in enumerate(algorithms)))

    def run(*files):
        done = CliRunner().invoke(make_app(), ["menu", "try", str(menu), *map(str, files), "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return json.loads(done.stdout)

    found = run(tmp_path / "boards")
    assert (found["orbits"], found["not_evaluated"], found["skipped"]) == (40, {}, [])
    later = every(4, names=["muon"], orbits=40, first_orbit=263_000)
    write_data([later], tmp_path / "later.raw")
    found = run(tmp_path / "boards/stub.dat", tmp_path / "later.raw")
    assert found["skipped"] == ["data of stub without jet, muon were skipped: no algorithm looks at them"]
    assert found["orbits"] == 40
    with pytest.raises(InputError, match="none of the streams jet, muon, at which the algorithms look, but"):
        run(tmp_path / "boards/stub.dat")

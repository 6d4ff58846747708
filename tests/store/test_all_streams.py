"""All streams: boards, readouts, a store, and what is built of it is exactly what was simulated."""

import io
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import l1scout
import l1scout.trigger.simulate_decisions  # the stream gt
from l1scout.board.board import Board
from l1scout.board.decision_board import DecisionBoard
from l1scout.board.repeat_records import RepeatedRecords
from l1scout.cli import make_app
from l1scout.core.orbit_batch import final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.errors import InputError
from l1scout.formats.streams.gt import to_links
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io.built_data import BuildAccount
from l1scout.io.quality import ReadQuality
from l1scout.link.transmit import Piece, Transmitter, random_timing
from l1scout.model.anomaly_inputs import AnomalyInputs, ObjectInputs
from l1scout.monitor.follow_store import StoreFollower
from l1scout.monitor.live_histograms import LiveHistograms
from l1scout.monitor.live_scores import LiveScores
from l1scout.quality.accumulators import RunHistograms
from l1scout.readout.source_writers import SourceWriters
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.object_packets import SEED, simulated_objects
from l1scout.simulate.write import Fibres
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.stored_run import stored_run
from l1scout.trigger.simulate_decisions import OWN_MENU
from processes import wait_for
from toy_anomaly import INPUTS, anomaly_model, write_anomaly_model

RUN, ORBITS = 12, 18
QUIET = Activity(pile_up=0.5, occupancy=0.05)
EVERY = ("muon", "jet", "egamma", "tau", "etsum", "tower", "stub", "gt")
BOARDS = {"gmt": ("run3", [1]), "calo": ("objects", [22, 23, 24, 25]), "bmtf": ("objects", [*range(10, 22)])}
BOARDS |= {"gt": ("objects", [4]), "towers": ("objects", [32])}


class Bytes(io.BytesIO):
    """Keeps packets."""

    def ready(self):
        return True

    def step(self, packet):
        self.write(packet)

    def finish(self):
        pass


@pytest.fixture(scope="module")
def truth():
    """What was simulated: chunks of a few orbits."""
    return list(simulate_streams(SEED, ORBITS, EVERY, activity=QUIET))


def packets(board, truth):
    """Return what a board sends of the truth: muons and decisions come over links."""
    sink = Bytes()
    if board == "gmt":
        fibres = Fibres(RUN3, SEED)
        pieces = [Piece(d.muons, d.muons.first_orbit, d.muons.first_orbit + d.muons.n_orbits) for d in truth]
        Board(sink, RUN3).run(fibres.send(pieces))
    elif board == "gt":
        transmitter = Transmitter(RUN3, random_timing(np.random.default_rng(3)))
        DecisionBoard(sink).run(captures(truth, transmitter))
    else:
        for packet in simulated_objects(BOARDS[board][1], ORBITS, QUIET):
            sink.write(packet)
    if board != "towers":
        return sink.getvalue()
    prescaled = Bytes()
    RepeatedRecords(io.BytesIO(sink.getvalue()), [32], keep=2, of=9).run(prescaled, pace=0, orbits=ORBITS)
    return prescaled.getvalue()


def captures(truth, transmitter):
    for data in truth:
        gt = data.streams["gt"]
        for orbit in range(gt.first_orbit, gt.first_orbit + gt.n_orbits):
            words = np.zeros((1, 8, 21384), np.uint32)
            words[0, :4] = to_links(gt.of_orbits(np.array([orbit])))
            yield transmitter.send_words(words, orbit)
    yield transmitter.idle(ORBITS)


@pytest.fixture(scope="module")
def store(tmp_path_factory, truth):
    """A store with the run: each board has its readout process, in which each source has its segments."""
    folder = tmp_path_factory.mktemp("store")
    catalogue = Catalogue(folder, create=True)
    for board, (form, sources) in BOARDS.items():
        spool, wire_format = Spool(folder / "spool" / board), WIRE_FORMATS[form]

        def make(source, spool=spool, wire_format=wire_format):
            return SegmentWriter(spool, RUN, source, wire_format, Limits(orbits=7))

        writers = SourceWriters(wire_format, sources, make)
        for packet in wire_format.split(io.BytesIO(packets(board, truth))):
            writers.step(packet)
        writers.finish()
        assert not writers.totals.counts["missed"] + writers.totals.counts["corrupt"]
        for segment in spool.waiting():
            (folder / segment.name).write_bytes(spool.path(segment).read_bytes())
            catalogue.add(spool.note(segment), segment.name)
        if board == "towers":
            catalogue.put_settings(RUN, 32, "[board]\nkeep_orbits = 2\nof_orbits = 9\n")
    catalogue.close()
    return folder


def objects(batches, name):
    """Return columns with run, orbit and BX of each object; of muons without what records do not hold."""
    batch = l1scout.core.orbit_batch.concatenate(batches)
    left = {n: c for n, c in batch.columns.items() if n != "link"}
    return {"orbit": batch.orbit[batch.row], "bx": batch.bx[batch.row], **left}, name


def test_what_is_built_is_what_was_simulated(truth, store):
    built = list(l1scout.open(store, run=RUN, intermediate=True))
    assert set(built[0].streams) == set(EVERY)
    for name in EVERY:
        true = [data.streams[name] for data in truth]
        if name == "tower":
            true = [b.of_orbits(np.array([o for o in b.orbits_seen() if o % 9 < 2])) for b in true]
        expected, _ = objects(true, name)
        found, _ = objects([data.streams[name] for data in built], name)
        assert expected["bx"].size > 20, name
        assert set(found) == set(expected), name
        for column, values in expected.items():
            assert np.array_equal(found[column], values), (name, column)
            assert found[column].dtype == values.dtype, (name, column)
    assert {data.simulated for data in built} == {True}


def test_every_stream_states_the_orbits_it_was_seen_in(store):
    built = list(l1scout.open(store, run=RUN))
    seen = {n: np.concatenate([d.streams[n].orbits_seen() for d in built]).tolist() for n in EVERY}
    assert seen.pop("tower") == [0, 1, 9, 10]
    assert set(map(tuple, seen.values())) == {tuple(range(ORBITS))}
    assert sum(d.streams["tower"].lost_orbits for d in built) == 0
    assert stored_run(store, RUN).prescales == {32: (2, 9)}


def test_the_monitor_scores_crossings_of_several_sources(store, truth, tmp_path):
    parts = ObjectInputs("jet", 2, ("hwPt",), (0,), (4,)), ObjectInputs("etsum", 1, ("hwMissEt",), (0,), (4,))
    inputs = AnomalyInputs("all", (*INPUTS.objects, *parts))
    scores = LiveScores([write_anomaly_model(tmp_path / "all", anomaly_model(inputs))])
    live = LiveHistograms(Provenance("test"), scores=scores)
    threads = scores.start(live.keep_scores, live.faults.append)
    StoreFollower(store, RUN, live.take, threading.Event()).run()
    assert scores.finish() == live.faults == []
    wait_for(lambda: "anomaly.all" in live.histograms.streams)
    found = live.histograms.streams["anomaly.all"]
    wait_for(lambda: found.orbits == ORBITS)
    scores.stop()
    for thread in threads:
        thread.join()
    expected = RunHistograms()
    for data in truth:
        expected.add(OrbitData({"anomaly": scores.models[0].scorer(data)}))
    wanted = expected.streams["anomaly"].run(["score", "bx"])
    assert {name: counts.tolist() for name, counts in found.run(["score", "bx"]).items()} == {
        name: counts.tolist() for name, counts in wanted.items()
    }
    assert wanted["score"].sum() > 1000


def test_account_of_the_sources_joined(store):
    stages = account(RUN, store, verify=True)
    (built,) = [stage for stage in stages if stage.name.startswith("orbits of all sources")]
    assert (built.into, built.out, built.counted) == (ORBITS, ORBITS, {"incomplete": 0})
    assert built.name.endswith("without 32 (2 of 9 orbits)")
    assert not [stage.wrong for stage in stages if stage.wrong and stage.source]


def command(*words):
    done = CliRunner().invoke(make_app(), [*map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


def test_the_page_from_a_run_to_the_formats_of_others(store, tmp_path, monkeypatch):
    """The commands and the program of the documentation, with this store; all find the same jets."""
    text = (Path(__file__).parents[2] / "docs/streams.md").read_text("utf-8")
    section = text.partition("## From a run to everybody's formats")[2]
    commands, program = re.search(r"```sh\n(.*?)```\n```python\n(.*?)```", section, re.DOTALL).groups()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l1scout-store").symlink_to(store)
    for line in commands.splitlines():
        words = line.partition("#")[0].replace("--run 1 ", f"--run {RUN} ").split()
        assert words[0] == "l1scout"
        command(*words[1:])
    found = {}
    exec(compile(program, "streams.md", "exec"), found)
    jets = l1scout.open(store, run=RUN).streams["jet"]
    expected = jets.n_objects, int(jets["hwPt"].sum())
    assert {name: tuple(map(int, values)) for name, values in found["jets"].items()} == dict.fromkeys(
        ["l1scout", "uproot", "uproot, RNTuple", "coffea", "polars", "duckdb", "pandas"], expected
    )
    true = l1scout.open(store, run=RUN, intermediate=True).streams
    for path in ("run1", "run1.raw", "run1.packets", "run1.root", "run1-rntuple.root"):
        read = l1scout.open(path, intermediate=True).streams
        assert set(read) == set(EVERY)
        for name, batch in read.items():
            is_final = path.endswith(".root") and name == "muon"
            expected = final_muons(true[name]) if is_final else true[name]
            assert batch.n_objects == expected.n_objects > 20, (path, name)
            assert batch.orbits_seen().tolist() == true[name].orbits_seen().tolist(), (path, name)
            for column in ("hwPt", "hwEt", "hwTotalEt", "hwQual", "algo000"):
                if column in expected.columns:
                    assert np.array_equal(batch[column], expected[column]), (path, name, column)


def test_a_source_of_a_run_is_chosen_as_in_other_commands(store, tmp_path):
    command("convert", store, tmp_path / "jets", "--run", RUN, "--source", 22)
    assert list(l1scout.open(tmp_path / "jets").streams) == ["jet"]
    for words, message in [
        ([store, store, tmp_path / "x.raw", "--run", RUN], "name one store, not 2 inputs"),
        ([store, tmp_path / "x.raw", "--source", 22], "--source needs --run"),
        ([store, tmp_path / "x.raw", "--run", RUN + 1], "is not in this store"),
        ([store, store, "--run", RUN, "--to", "parquet-dataset"], "is in the store itself"),
    ]:
        with pytest.raises(InputError, match=message):
            command("convert", *words)


@pytest.mark.parametrize("words", ["skim --when MU0", "skim --when MU0 --follow", "convert"])
def test_nothing_is_written_over_what_a_store_holds(store, words):
    name, *options = words.split()
    for path in (stored_run(store, RUN).files[0], store / "catalogue.sqlite"):
        before = path.read_bytes()
        with pytest.raises(InputError, match="is in the store itself"):
            command(name, store, path, "--run", RUN, "--to", "raw", *options)
        assert path.read_bytes() == before


def test_damage_costs_an_orbit_of_its_stream_and_is_said(store, tmp_path):
    """A frame whose checksum does not fit is left out, and its orbit is lost for that stream alone."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    path = next(iter(stored_run(copy, RUN).sources[22]))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    quality, build = ReadQuality(), BuildAccount()
    parts = list(stored_run(copy, RUN).read(quality, build))
    assert sum(data.streams["jet"].n_orbits for data in parts) == ORBITS - 1
    assert sum(data.streams["jet"].lost_orbits for data in parts) == 1
    assert sum(data.muons.n_orbits for data in parts) == ORBITS
    assert quality.damaged_parts == 1
    assert (build.complete, build.counts[22].absent) == (ORBITS - 1, 1)


def test_orbits_that_a_source_lacks_are_in_the_account(store):
    catalogue = Catalogue(store)
    gone = [s for s in catalogue.segments(RUN) if s.segment.source == 14][1]
    catalogue.deleted(gone)
    catalogue.close()
    built = account(RUN, store)[-1]
    assert (built.into, built.out, built.counted) == (ORBITS, ORBITS - 7, {"incomplete": 7})
    assert built.alarms == ["source 14: 7 orbits of others are absent"]
    parts = list(l1scout.open(store, run=RUN))
    assert sum(data.streams["stub"].n_orbits for data in parts) == ORBITS - 7
    assert sum(data.streams["stub"].lost_orbits for data in parts) == 7


def test_recorded_decisions_of_a_run_are_those_of_its_objects(store, tmp_path):
    table = '[[algorithm]]\nname = "{}"\nindex = {}\nexpression = "{}"\n'
    menu = tmp_path / "menu.toml"
    menu.write_text("".join(table.format(name, index, text) for index, (name, text) in OWN_MENU.items()))
    words = ["menu", "cross-check", str(store), "--run", str(RUN), "--menu", str(menu), "--json"]
    done = CliRunner().invoke(make_app(), words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["agrees"] is True
    assert len(found["algorithms"]) == len(OWN_MENU)
    assert found["orbits"] == ORBITS

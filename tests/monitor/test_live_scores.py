"""Anomaly scores on the live page: those of the model, all or a sample that is stated, alarms, refusals."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from hand_made import model_directory
from l1scout.core.orbit_batch import concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.deploy.anomaly_score import AnomalyScorer
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.io.format_writer import write_data
from l1scout.lhc import ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION, lumisection
from l1scout.model.anomaly_inputs import AnomalyInputs, ObjectInputs
from l1scout.monitor import live_scores
from l1scout.monitor.live_histograms import LiveHistograms
from l1scout.monitor.live_scores import LiveScores
from l1scout.monitor.model_scores import ModelScores
from l1scout.monitor.page_frames import View, live_frame, unpack
from l1scout.monitor.quality_alarms import QualityAlarms
from l1scout.quality.histogram_file import read_histograms
from l1scout.simulate.planted_signals import plant
from l1scout.simulate.run import Running, simulate_run
from live_packets import ended_spool, stored_spool
from monitor_page import RUN, Served, SpoolWriter
from processes import wait_for
from random_streams import batch_of
from toy_anomaly import INPUTS, anomaly_model, write_anomaly_model

BOTH = AnomalyInputs("all", (*INPUTS.objects, ObjectInputs("jet", 2, ("hwPt",), (0,), (4,))))

PUPPI = AnomalyInputs("all", (*INPUTS.objects, ObjectInputs("puppi", 1, ("hwPt",), (0,), (4,))))


def stating(scores, per_orbit=100.0):
    """Return a change of a card that states thresholds: scores by fraction."""
    stated = {"score_exceeded_by_fraction": scores, "crossings_per_orbit": per_orbit}
    return lambda card: card.update(scores=stated)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A model that states two thresholds."""
    return write_anomaly_model(
        tmp_path_factory.mktemp("toy") / "axo", change=stating({"0.1": 20, "0.01": 90})
    )


@contextmanager
def scoring(live):
    """Score in a thread, as the monitor does."""
    threads = live.scores.start(live.keep_scores, live.faults.append)
    yield
    live.scores.stop()
    for thread in threads:
        thread.join()


def expected(scorer, data, thresholds=(20, 90)):
    """Return the scores of data, and how many are above each threshold."""
    scores = np.concatenate([scorer(one)["hwScore"] for one in data])
    return scores, [int(np.count_nonzero(scores > t)) for t in thresholds]


def test_scores_of_a_run_that_is_taken(tmp_path, toy):
    writer = SpoolWriter(tmp_path / "spool")
    writer.write(72)
    served = Served(tmp_path, monitor__anomaly_models=toy)
    try:
        wait_for(lambda: served.frame("view=anomaly")[0]["models"][0]["orbits"] >= writer.orbits)
        segment = next((tmp_path / "spool").glob("*source*"))
        data = list(read_batches([segment]))
        scores, above = expected(AnomalyScorer.load_fast(toy), data)
        head, arrays = served.frame("view=anomaly")
        (model,) = head["models"]
        assert arrays["anomaly.axo/score"].sum() == scores.size
        assert [r["run"]["crossings"] for r in model["rates"]] == above
        hz = ORBIT_FREQUENCY_HZ / writer.orbits
        assert [r["run"]["rate_hz"] for r in model["rates"]] == pytest.approx([n * hz for n in above])
        assert [r["run"]["trained_hz"] for r in model["rates"]] == pytest.approx(
            [f * 100 * ORBIT_FREQUENCY_HZ for f in (0.1, 0.01)]
        )
        assert [t["hw_score"] for t in model["top"]] == np.sort(scores)[::-1][:10].tolist()
        first = model["top"][0]
        assert (first["run"], first["lumisection"]) == (RUN, 1)
        assert first["objects"].startswith("muon ")
        assert (model["trained_on"], model["scored"]) == ("simulated crossings", 1.0)
        trend = [arrays[f"trend/anomaly.axo/exceeded_{k}"].sum() for k in range(3)]
        assert trend == [scores.size - above[0], above[0] - above[1], above[1]]
        text = served.get("/metrics")[1].decode()
        assert 'l1scout_anomaly_scored_ratio{model="axo"} 1.0' in text
        rate = float(text.partition('anomaly_rate_hertz{fraction="0.1",model="axo"} ')[2].split()[0])
        assert rate == pytest.approx(above[0] * hz)
        saved = json.loads(served.get("/api/download?format=json&stream=anomaly.axo")[1])
        assert np.sum(saved["anomaly.axo/exceeded"]["storage"]["values"]) == scores.size
    finally:
        served.close()
        writer.close()
    kept = read_histograms(tmp_path / "histograms" / f"run{RUN:06d}.root")
    assert kept.counts["anomaly.axo"]["exceeded"][1:].sum() == above[0]
    assert kept.trend["anomaly.axo"]["exceeded_2"].sum() == above[1]


def test_all_of_a_stored_run_is_scored(tmp_path, toy, monkeypatch):
    """However slow it is: reading waits."""
    monkeypatch.setattr(live_scores, "MAX_WAITING_ORBITS", 1)
    folder = stored_spool(ended_spool(tmp_path / "spool"), tmp_path / "store")
    data = list(read_batches(sorted(p for p in folder.rglob("run*") if p.is_file() and p.suffix != ".json")))
    scores, above = expected(AnomalyScorer.load_fast(toy), data)
    served = Served(tmp_path, 7, monitor__anomaly_models=toy)
    try:
        wait_for(lambda: served.frame("view=anomaly")[0]["models"][0]["orbits"] == 24)
        (model,) = served.frame("view=anomaly")[0]["models"]
        assert served.frame("view=physics&stream=anomaly.axo")[1]["anomaly.axo/score"].sum() == scores.size
        assert [r["run"]["crossings"] for r in model["rates"]] == above
    finally:
        served.close()


def test_scores_that_are_late_are_left_out_and_the_share_is_stated(toy, monkeypatch):
    monkeypatch.setattr(live_scores, "MAX_WAITING_ORBITS", 4)
    scores = LiveScores([toy])
    live = LiveHistograms(Provenance("test"), scores=scores)
    pieces = [
        OrbitData.of_muons(p.muons) for p in simulate_run(1, 12, running=Running(occupancy=0.1), chunk=4)
    ]
    scores.queues[0].begin(live.faults.append)
    for piece in pieces:
        live.take(piece)  # nobody scores yet: only the first four orbits are held
    with scoring(live):
        wait_for(lambda: scores.oldest is None)
    assert live.histograms.orbits == 12
    (model,) = unpack(live_frame(live, View("anomaly")))[0]["models"]
    assert (model["orbits"], model["scored"]) == (4, pytest.approx(1 / 3))
    _, (above, _) = expected(scores.models[0].scorer, pieces[:1])
    assert model["rates"][0]["run"]["rate_hz"] == pytest.approx(above * ORBIT_FREQUENCY_HZ / 4)


def test_data_that_one_model_cannot_join_are_scored_with_the_others(tmp_path, toy):
    """Data that do not state their orbits are joined with no others."""
    scores = LiveScores([write_anomaly_model(tmp_path / "all", anomaly_model(BOTH)), toy])
    live = LiveHistograms(Provenance("test"), scores=scores)
    (piece,) = simulate_run(1, 4, running=Running(occupancy=0.1), chunk=4)
    with scoring(live):
        live.take(OrbitData.of_muons(replace(piece.muons, first_orbit=None)), can_wait=True)
        wait_for(lambda: scores.oldest is None)
    assert live.histograms.streams["anomaly.axo"].orbits == 4
    (fault,) = live.faults
    assert fault.startswith("no scores of all: ")
    assert fault.endswith("does not state which orbits were seen: muon cannot be joined with others")


def test_what_an_ended_run_left_does_not_hold_up_the_next(toy, monkeypatch):
    """If it is not scored in time, all but the orbits being scored are left out."""
    monkeypatch.setattr(live_scores, "_END_S", 0.01)
    scores, scored = LiveScores([toy]), []
    live = LiveHistograms(Provenance("test"), scores=scores)
    pieces = [p.muons for p in simulate_run(1, 12, running=Running(occupancy=0.1), chunk=4)]
    scores.queues[0].begin(live.faults.append)
    for run in (7, 8):
        for muons in pieces:
            live.take(OrbitData.of_muons(replace(muons, run=np.full(len(muons), run))))
    threads = scores.start(lambda run, _model, _made: scored.append(run), live.faults.append)
    wait_for(lambda: scores.oldest is None)
    scores.stop()
    for thread in threads:
        thread.join()
    assert scored == [7, 8, 8, 8]


def test_streams_of_several_sources_are_joined(tmp_path):
    folder = write_anomaly_model(tmp_path / "all", anomaly_model(BOTH), stating({"0.1": 20}))
    model, orbits = ModelScores(folder), np.arange(60)
    (piece,) = simulate_run(1, 60, running=Running(occupancy=0.1), chunk=60)
    jets = batch_of("jet", 4000, np.random.default_rng(3), orbits=60)
    jets = replace(jets, orbit=jets.orbit - jets.orbit[0], simulated=True).with_orbits(orbits)
    muons = piece.muons
    data = OrbitData({"muon": muons, "jet": jets})
    scores, (above,) = expected(model.scorer, [data], (20,))
    found = []
    for first in range(0, 60, 20):
        part = np.arange(first, first + 20)
        for name, batch in data.streams.items():
            found += model.complete(OrbitData({name: batch.of_orbits(part)}))
        assert model.missing == []
    found = [model.score(one) for one in [*found, *model.finish()]]
    assert [s.scores.n_orbits for s in found if len(s.scores)] == [s.scores.n_orbits for s in found]
    assert sum(s.scores.n_orbits for s in found) == 60
    assert np.array_equal(np.concatenate([s.scores["hwScore"] for s in found]), scores)
    assert sum(int((s.scores["exceeded"] > 0).sum()) for s in found) == above


def test_planted_signals_raise_an_alarm(tmp_path):
    """In the last orbits of a lumisection, displaced muons are added to each crossing."""
    (piece,) = simulate_run(5, 60, running=Running(occupancy=0.1), chunk=60)
    muons = piece.muons
    clean = OrbitData.of_muons(muons)
    probe = AnomalyScorer.load_fast(write_anomaly_model(tmp_path / "probe"))
    threshold = int(np.quantile(probe(clean)["hwScore"], 0.98))
    folder = write_anomaly_model(tmp_path / "toy", change=stating({"0.02": threshold}))
    planted = plant(clean, "displaced_muons", muons, 1).muons
    kept = planted.with_columns(**{n: c.astype(muons[n].dtype) for n, c in planted.columns.items()})
    last = concatenate(
        [muons.of_orbits(np.arange(50)), kept.with_orbits(np.arange(60)).of_orbits(np.arange(50, 60))]
    )
    scores = LiveScores([folder])
    live = LiveHistograms(Provenance("test"), scores=scores)
    QualityAlarms(live, lambda *_, **__: None, tmp_path)
    with scoring(live):
        for number in range(1, 9):
            first = (number - 1) * ORBITS_PER_LUMISECTION
            batch = last if number == 7 else muons
            orbit = batch.orbit + first
            placed = {"orbit": orbit, "lumisection": lumisection(orbit), "run": np.full(len(batch), RUN)}
            live.take(OrbitData.of_muons(replace(batch, first_orbit=first, **placed)), can_wait=True)
            wait_for(lambda: scores.oldest is None)
            live.tick()
            alarms = [a for a in live.alarms if "above_threshold_1" in a["text"]]
            assert bool(alarms) == (number == 8), live.alarms  # lumisection 7 is complete when 8 begins
    assert f"run {RUN}, lumisection 7: anomaly.toy/above_threshold_1: rate of crossings" in alarms[0]["text"]
    assert alarms[0]["link"] == "?view=anomaly&stream=anomaly.toy"


def test_models_that_cannot_be_used_are_refused_in_one_line(tmp_path, toy):
    refused = {
        tmp_path / "nothing": r"nothing/card.json: cannot be read \(No such file or directory\)",
        model_directory(tmp_path / "muons"): "muons: corrects muons: it gives no anomaly score",
        f"{toy},{toy}": "give each model once",
        write_anomaly_model(tmp_path / "all", anomaly_model(BOTH)): "anomaly model all takes jet, which the "
        "sources 1 of the settings do not have",
        write_anomaly_model(
            tmp_path / "puppi", anomaly_model(PUPPI)
        ): "puppi: takes puppi, which no scouting source sends",
    }
    for number, stated in enumerate(
        ({"0.1": "many"}, {"0.1": -1}, {"2": 5}, [1], {f"0.{k}": 1 for k in range(1, 10)})
    ):
        folder = write_anomaly_model(tmp_path / f"bad{number}", change=stating(stated))
        refused[folder] = "is not up to 8 scores by fraction"
    for models, why in refused.items():
        with pytest.raises(InputError, match=why):
            Served(tmp_path, monitor__anomaly_models=models)


def test_a_model_without_thresholds_and_data_without_its_stream(tmp_path):
    both = write_anomaly_model(tmp_path / "all", anomaly_model(BOTH))
    plain = write_anomaly_model(tmp_path / "plain")
    (piece,) = simulate_run(1, 6, running=Running(occupancy=0.1), chunk=6)
    write_data(
        [OrbitData.of_muons(piece.muons)], tmp_path / "run.parquet", made=Provenance("test"), drop=True
    )
    served = Served(tmp_path, tmp_path / "run.parquet", monitor__anomaly_models=f"{both},{plain}")
    try:
        wait_for(lambda: served.monitor.live.faults)
        assert "no scores of all: it takes jet, which the data do not have" in served.monitor.live.faults
        wait_for(lambda: served.frame("view=anomaly")[0]["models"][1]["orbits"] == 6)
        models = served.frame("view=anomaly")[0]["models"]
        assert [(m["missing"], m["orbits"], m["rates"]) for m in models] == [(["jet"], 0, []), ([], 6, [])]
        assert served.monitor.live.histograms.streams["muon"].orbits == 6
    finally:
        served.close()

"""From packets of boards to a model, and to data with scores: as a user goes, with provenance on the way."""

import json

import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.io.read import read_events
from l1scout.model.card import read_card
from l1scout.simulate.activity import Activity
from l1scout.trigger.board_files import write_board_files


def run(*words, status=0):
    """Run a command; return what it prints."""
    done = CliRunner().invoke(make_app(), [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Packets of muons and calorimeter objects, and a model of all objects made of them."""
    folder = tmp_path_factory.mktemp("anomaly")
    sources = {"gmt": None, "calo": range(2, 3)}
    write_board_files(folder / "boards", sources, 6, Activity(pile_up=1.0, towers=1.0), seed=3)
    words = ("--epochs", 1, "--out", folder / "model", "--json")
    folder.joinpath("train.json").write_text(run("anomaly", "train", folder / "boards", *words))
    return folder


def test_training_states_its_data(folder):
    told = json.loads((folder / "train.json").read_text())
    card = read_card(folder / "model")
    assert (told["name"], told["simulated"], told["sha256"]) == ("anomaly-all", True, card.sha256)
    assert (card.origin, card.data["orbits"]) == ("simulated crossings", 6)
    assert card.provenance["command"] == "anomaly train"
    assert {i["file"] for i in card.provenance["inputs"]} == {"boards"}


def test_scores_are_a_stream_of_files(folder):
    text = run("anomaly", "score", folder / "boards", "--model", folder / "model", "--out", folder / "scored")
    assert "anomaly-all, trained on simulated crossings" in text
    (data,) = read_events(folder / "scored" / "_l1scout.json")
    assert set(data.streams) == {"anomaly", "muon", "jet", "egamma", "tau", "etsum"}
    scores = data.streams["anomaly"]
    assert (scores.n_orbits, data.simulated) == (6, True)
    assert np.all(scores["level"] == 1)
    same = ["anomaly", "score", folder / "scored", "--model", folder / "model", "--out", folder / "scored"]
    done = CliRunner().invoke(make_app(), list(map(str, same)))
    assert "is the input itself; name another file" in str(done.exception)
    words = ("--model", folder / "model", "--out", folder / "scored.root", "--drop", "--json")
    told = json.loads(run("anomaly", "score", folder / "boards", *words))
    assert (told["simulated"], told["models"][0]["crossings"]) == (True, len(scores))
    with uproot.open(folder / "scored.root") as file:
        found = file["Events"].arrays(["orbitNumber", "bunchCrossing", "L1Anomaly_hwScore"], library="np")
    assert np.concatenate(found["L1Anomaly_hwScore"]).tolist() == scores["hwScore"].tolist()


def test_what_is_missing_is_said(folder):
    assert "give --model" in str(CliRunner().invoke(make_app(), ["anomaly", "score", "x"]).exception)
    done = CliRunner().invoke(make_app(), ["anomaly", "train", "--out", str(folder / "new")])
    assert "give either files or folders to read, or --run" in str(done.exception)
    words = ["anomaly", "train", "x", "--simulate", "2", "--out", str(folder / "new")]
    assert "give either data" in str(CliRunner().invoke(make_app(), words).exception)

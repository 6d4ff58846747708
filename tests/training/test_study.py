"""The study: what it varies, that it can be stopped and goes on, and that its tables repeat."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.evaluate.metrics import KINDS
from l1scout.model.quantities import VARIABLES
from l1scout.training import study
from l1scout.training.recipes import PAPER
from l1scout.training.study import Plan, Study, from_handles, grid, handles
from toy_muons import toy_dataset, write_parquet


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "d.parquet"
    return write_parquet(path, toy_dataset(2000).columns, {"simulated": True, "source": ["toy"]})


@pytest.fixture
def pretend(monkeypatch):
    """Trainings that take no time: better the more handles are right. Returns the runs done."""
    right = {
        "loss": "logcosh",
        "optimizer": "adadelta",
        "regularization": "L2 1e-7",
        "hidden": "softmax",
        "output": "linear",
    }
    done = []

    def train_run(run):
        done.append(run)
        wrong = sum(handles(run.recipe)[h] != v for h, v in right.items())
        x = 0.5 + 0.1 * wrong + 0.01 * run.fold + 0.001 * run.seed
        numbers = {k: dict.fromkeys(VARIABLES, x) for k in KINDS}
        one = {k: dict.fromkeys(VARIABLES, 1.0) for k in KINDS}
        above = {f"{n}_without_hwpt_6": v for n, v in (("raw", one), ("model", numbers))}
        return {"raw": one, "model": numbers, **above, "objective": x}

    monkeypatch.setattr(study, "train_runs", lambda _data, runs: [train_run(r) for r in runs])
    return done


def run(*arguments):
    result = CliRunner().invoke(make_app(), ["study", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def written(folder: Path):
    return [(folder / name).read_bytes() for name in ("study.json", "study.html")]


def test_the_grid_is_the_papers_and_knows_its_models_by_name():
    recipes = grid()
    assert len(recipes) == len({r.name for r in recipes}) == 3 * 4 * 7 * 2 * 2
    for name, r in PAPER.items():
        assert r in recipes
        assert from_handles(handles(r)).name == name
    sgd = next(r for r in recipes if (r.optimizer, r.l1) == ("sgd", 1e-9))
    assert (sgd.learning_rate, handles(sgd)["regularization"]) == (0.01, "L1 1e-9")


def test_a_relu_output_can_be_exported(trained):
    import keras

    from l1scout.training.recipes import build
    from l1scout.training.save_model import to_network

    keras.utils.set_random_seed(1)
    *_, last, _scaling = to_network(
        build(dataclasses.replace(PAPER["A"], output="relu")), trained.card
    ).layers
    assert last.activation == "relu"


def test_incremental_varies_one_handle_after_the_other(data, tmp_path, pretend):
    work = Study(data, tmp_path / "j", Plan(folds=3))
    seen = work.incremental()
    best = min(seen, key=work.objective)
    assert handles(best) == {
        "loss": "logcosh",
        "optimizer": "adadelta",
        "regularization": "L2 1e-7",
        "hidden": "softmax",
        "output": "linear",
    }
    assert len(seen) == 1 + 2 + 3 + 6 + 1 + 1
    assert len(pretend) == 3 * len(seen)


def test_optunas_choice_repeats_and_finds_its_way(data, tmp_path, pretend):
    first = Study(data, tmp_path / "j", Plan(folds=3)).search(25)
    many = len(pretend)
    work = Study(data, tmp_path / "j", Plan(folds=3))
    assert work.search(25) == first
    assert len(pretend) == many == 3 * len(first)
    assert work.objective(min(first, key=work.objective)) <= 0.5 + 0.1 * 2 + 0.02


def test_a_study_goes_on_where_it_was_stopped(data, tmp_path, monkeypatch, pretend):
    arguments = ("--data", data, "--folds", 4, "--seeds", 2, "--no-limit")
    run(*arguments, "--out", tmp_path / "whole")
    whole = len(pretend)
    assert whole == 6 * 4 * 2
    go_on = study.train_runs

    def stopped(d, r):
        if len(pretend) == whole + 12:
            raise KeyboardInterrupt
        return go_on(d, r)

    monkeypatch.setattr(study, "train_runs", stopped)
    CliRunner().invoke(make_app(), ["study", *map(str, arguments), "--out", str(tmp_path / "parts")])
    assert len(pretend) == whole + 12
    assert not (tmp_path / "parts" / "study.json").exists()
    monkeypatch.setattr(study, "train_runs", go_on)
    run(*arguments, "--out", tmp_path / "parts")
    assert len(pretend) == 2 * whole
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_a_journal_that_was_cut_off_loses_the_folds_of_one_recipe_at_most(data, tmp_path, pretend):
    plan, journal = Plan(folds=3), tmp_path / "j"
    Study(data, journal, plan).run([PAPER["B"], PAPER["A"]])
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])
    work = Study(data, journal, plan)
    work.run([PAPER["B"], PAPER["A"]])
    assert len(pretend) <= 6 + 3
    again = Study(data, journal, plan)
    again.run([PAPER["A"]])
    assert len(pretend) <= 6 + 3
    assert len({r.key for r in pretend}) == 6
    assert again.objective(PAPER["A"]) == work.objective(PAPER["A"])


def test_spreads_over_folds_and_over_seeds_are_told_apart(data, tmp_path, pretend):
    result = json.loads(
        run("--data", data, "--out", tmp_path, "--folds", 3, "--seeds", 2, "--no-limit", "--json")
    )
    a = result["models"]["A"]
    assert a["scores"]["rms"]["phi"]["value"] == pytest.approx(0.5 + 0.3 + 0.01 + 0.0015)
    assert a["scores"]["rms"]["phi"]["error"] == pytest.approx(0.01)
    assert a["spread_over_seeds"]["tail"]["pt"] == pytest.approx(0.001 / np.sqrt(2))
    assert result["limit"] is None


REAL = ("--models", "A,E", "--folds", 3, "--epochs", 1)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """Folder and standard output of real trainings in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, run("--data", data, *REAL, "--out", folder)


@pytest.mark.long
def test_real_trainings_repeat_in_one_process_and_in_two(data, alone, tmp_path):
    folder, text = alone
    run("--data", data, *REAL, "--out", tmp_path / "two", "--workers", 2)
    assert written(folder) == written(tmp_path / "two")
    assert "published" in text
    assert "Ours / limit" in text
    assert text.splitlines()[4].startswith("GMT")
    result = json.loads((folder / "study.json").read_text())
    assert list(result["models"]) == ["A", "E"]
    assert 0 < result["limit"]["reached"]["rms"]["phi"]["value"] < result["raw"]["rms"]["phi"]["value"]
    assert result["raw_without_hwpt_6"]["rms"]["pt"]["value"] != result["raw"]["rms"]["pt"]["value"]
    for row in result["models"].values():
        assert 0 < row["scores_without_hwpt_6"]["rms"]["eta"]["value"] < 1
    assert result["provenance"]["command"] == "study"
    html = (folder / "study.html").read_text()
    assert "Simulated muons" in html
    assert html.count("data:image/svg+xml") == 2


@pytest.mark.long
def test_a_dask_cluster_gives_what_one_process_gives(data, alone, tmp_path):
    """Two worker processes behind a real scheduler; then one that is not there."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        run("--data", data, *REAL, "--out", tmp_path / "there", "--scheduler", address)
        assert written(tmp_path / "there") == written(alone[0])
    with pytest.raises(InputError, match="no Dask scheduler answers there"):
        run("--data", data, *REAL, "--out", tmp_path / "gone", "--scheduler", "tcp://127.0.0.1:9")


def test_what_cannot_be_used_is_one_line(data, tmp_path):
    (tmp_path / "j").write_text("two years\nof work\n")
    with pytest.raises(InputError, match="not a usable journal"):
        Study(data, tmp_path / "j", Plan())
    with pytest.raises(InputError, match="no model 'Z'"):
        run("--data", data, "--out", tmp_path, "--models", "A,Z")

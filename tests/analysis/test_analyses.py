"""What follows from an analysis alone: command, help, JSON schema, documentation and figure."""

import csv
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, Option, Part, Result
from l1scout.analysis._docs import MARKER, reference, with_reference
from l1scout.analysis._schema import COMMON
from l1scout.cli import make_app
from l1scout.errors import InputError
from menu_documents import ONLY_MUONS
from toy_anomaly import write_anomaly_model

DOCS = Path(__file__).parents[2] / "docs" / "analyses.md"


def run(*args):
    result = CliRunner().invoke(make_app(), ["analyse", *map(str, args)])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    scale: Annotated[float, Option("Muons are multiplied by this.", unit="GeV", low=0)] = 1.0
    names: Annotated[tuple[str, ...], Option("Names [in brackets].")] = ()
    mode: Annotated[str, Option("fast or slow", choices=("fast", "slow"))] = "fast"


@dataclass(kw_only=True)
class Row(Part):
    name: str


@dataclass(kw_only=True)
class ToyResult(Part):
    muons: Annotated[float, Doc("all muons, scaled")]
    names: list[Row]


class Count:
    def __init__(self):
        self.muons = 0

    def add(self, batch, prescale=1.0):
        self.muons += batch.n_objects

    def merge(self, other):
        self.muons += other.muons


class Toy(Analysis[ToyOptions]):
    """Count muons as a toy does.

    No more.
    """

    Options = ToyOptions
    needs = Needs("none", shared=())
    schema = ToyResult

    def start(self):
        return Count()

    def result(self):
        def figure():
            from l1scout.analysis.figures.canvas import canvas

            with canvas((3, 2)) as drawn:
                drawn.subplots().plot([1, 2])
                return drawn

        rows = [{"name": n} for n in self.options.names]
        return Result({"muons": self.state.muons * self.options.scale}, {"names": rows}, figure)


@pytest.fixture
def toy():
    """An analysis that is registered here."""
    ANALYSES.register("toy")(Toy)
    yield
    del ANALYSES._parts["toy"]


def test_a_registered_analysis_has_a_command(toy, tmp_path):
    assert "Count muons as a toy does." in run("--help").output
    text = run("toy", "--help").output
    for words in ("No more.", "--scale", "Names [in brackets].", "--simulate", "--out"):
        assert words in text
    assert "--scheme" not in text
    assert "--min-pt" not in text
    args = ["--simulate", 5, "--scale", 2, "--names", "one", "--names", "two", "--out", tmp_path]
    result = json.loads(run("toy", *args, "--json").output)
    assert result["muons"] % 2 == 0 < result["muons"]
    assert result["origin"] == "simulation"
    assert result["provenance"]["options"] == {"scale_gev": 2.0, "names": ["one", "two"], "mode": "fast"}
    assert json.loads((tmp_path / "toy.json").read_text()) == result
    _, *rows = (tmp_path / "toy-names.csv").read_text().splitlines()
    assert [r["name"] for r in csv.DictReader(rows)] == ["one", "two"]
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")
    assert "all muons, scaled" in reference()
    assert json.loads(run("toy", "--schema").output)["properties"]["muons"]["type"] == "number"
    with pytest.raises(InputError, match="--mode best: not one of fast, slow"):
        run("toy", "--simulate", 5, "--mode", "best")
    assert run("toy", "--simulate", 5, "--scale", -1).exit_code == 2


def test_an_analysis_of_another_package_has_a_command(tmp_path, monkeypatch):
    """Announced by an entry point; listed without being imported."""
    (tmp_path / "other_package.py").write_text(
        '"""Count as others do."""\n'
        "from l1scout.analysis import Analysis, Needs, Result\n"
        "class Other(Analysis):\n"
        "    needs = Needs('none', shared=())\n"
        "    def start(self):\n"
        "        class State:\n"
        "            n = 0\n"
        "            def add(self, batch, prescale): self.n += batch.n_orbits\n"
        "        return State()\n"
        "    def result(self): return Result({'orbits': self.state.n})\n"
    )
    about = tmp_path / "other_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[l1scout.analyses]\nelsewhere = other_package:Other\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "Count as others do." in run("--help").output
    assert "other_package" not in sys.modules
    assert json.loads(run("elsewhere", "--simulate", 7, "--json").output)["orbits"] == 7
    del ANALYSES._parts["elsewhere"], sys.modules["other_package"]


@pytest.mark.parametrize("name", ANALYSES)
def test_the_result_is_what_the_schema_says(name, tmp_path):
    """The JSON of a command has the keys of its schema, and no others."""
    args = ["--simulate", 40, "--simulated-occupancy", 0.2]
    if name == "masses":
        args = ["--simulate", 2000]
    elif name == "linearity":
        (tmp_path / "reference.csv").write_text(
            "bx,reference\n" + "".join(f"{k},{1 + k / 50}\n" for k in range(1, 3564))
        )
        args += ["--reference", tmp_path / "reference.csv"]
    elif name == "menu":
        (tmp_path / "menu.toml").write_text(ONLY_MUONS)
        args += ["--menu", tmp_path / "menu.toml"]
    elif name == "anomaly":
        args += ["--model", write_anomaly_model(tmp_path / "model")]
    elif name == "calibrate":
        planes = {
            plane: [[5 * k, 5 * k + 4, 0.1 * (k % 5 - 2)] for k in steps]
            for plane, steps in (("x", range(5)), ("y", range(5, 10)))
        }
        (tmp_path / "scan.json").write_text(json.dumps(planes | {"protons": [[1e11, 1e9], [1e11, 0]]}))
        factors = [[5 * k, [0.3, 0.7, 1.0, 0.7, 0.3][k % 5]] for k in range(10)]
        args = ["--simulate", 50, "--simulated-occupancy", 0.3, "--scan", tmp_path / "scan.json"]
        args += ["--condition", f"steps={json.dumps(factors)}"]
    result = json.loads(run(name, *args, "--json").output)
    own = {key: value for key, value in result.items() if key not in COMMON}
    adapter = TypeAdapter(ANALYSES[name].schema)
    adapter.validate_python(own)
    with pytest.raises(ValidationError, match="no_such_key"):
        adapter.validate_python(own | {"no_such_key": 1})
    schema = json.loads(run(name, "--schema").output)
    assert set(result) <= set(schema["properties"])
    assert set(schema["required"]) <= set(result)
    for part in [schema, *schema.get("$defs", {}).values()]:
        assert part["additionalProperties"] is False
        for key in part["properties"]:
            assert key == key.lower().replace(" ", "_").replace("-", "_")


def test_the_documentation_is_up_to_date():
    """`make docs` was run."""
    text = DOCS.read_text("utf-8")
    assert with_reference(text) == text
    hand_written = text.partition(MARKER)[0]
    for name in ANALYSES:
        assert f"`{name}`" in hand_written


def test_options_have_a_help():
    for analysis in ANALYSES.values():
        assert set(analysis.Options.__annotations__) == {f.name for f in fields(analysis.Options)}
        for hint in analysis.Options.__annotations__.values():
            assert any(isinstance(extra, Option) and extra.help for extra in hint.__metadata__)

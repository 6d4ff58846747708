"""Verilog of a hand-made network: traced, built, simulated, and found out when it is changed."""

import dataclasses
import importlib.util
import json
import re
import subprocess

import numpy as np
import pytest

import hand_made
from l1scout.errors import InputError
from l1scout.firmware.build import SOURCES, Built, build, cutoff_for, read_built
from l1scout.firmware.logic import trace
from l1scout.firmware.simulate import check_core, exhaust, in_icarus, in_verilator, table_of
from l1scout.firmware.verilator import have_icarus, have_verilator
from l1scout.model.directory import load_model

if importlib.util.find_spec("da4ml") is None:
    pytest.skip("no da4ml: pip install 'l1scout[firmware]'", allow_module_level=True)
needs_icarus = pytest.mark.skipif(not have_icarus(), reason="no Icarus Verilog: apt-get install iverilog")
needs_verilator = pytest.mark.skipif(not have_verilator(), reason="no Verilator: apt-get install verilator")
_no_alkaid = pytest.mark.skipif(
    importlib.util.find_spec("alkaid") is None, reason="no alkaid: pip install 'l1scout[firmware]'"
)
COMPILERS = ["da4ml", pytest.param("alkaid", marks=_no_alkaid)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(hand_made.firmware_directory(tmp_path_factory.mktemp("model") / "fw"))


@pytest.fixture(scope="module")
def built(model, tmp_path_factory):
    return build(model, tmp_path_factory.mktemp("rtl") / "rtl", cutoff=3)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


def changed_weight(model):
    """Return the model with one weight of its last layer one more, which always shows."""
    layers = list(model.network.layers)
    weights = layers[-1].weights.copy()
    weights[0, 2] += 1 << int(layers[-1].shift[2])
    layers[-1] = dataclasses.replace(layers[-1], weights=weights)
    return dataclasses.replace(model, network=dataclasses.replace(model.network, layers=tuple(layers)))


def test_one_changed_value_of_a_look_up_is_caught():
    model = hand_made.firmware_model(hand_made.integer_network(1))
    last = model.network.look_ups[-1]
    values = last.values.copy()
    values[last.counts[1] + 3, 2] += 1 << int(model.network.layers[-1].shift[2])
    look_ups = (*model.network.look_ups[:-1], dataclasses.replace(last, values=values))
    network = dataclasses.replace(model.network, look_ups=look_ups)
    logic = trace(network, model.domain)
    with table_of(model, lambda _n, _of: None) as table:
        found = exhaust(model, logic, table)
    assert found.logic == model.domain.entries // last.values.shape[0], "at one charge and pT"
    assert found.table == 0


def changed_netlist(built, folder):
    """Copy a folder of Verilog and turn one of the adders before the last into a subtraction."""
    folder.mkdir()
    for path in built.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    core = folder / SOURCES[1]
    lines = core.read_text("utf-8").splitlines()
    adders = [k for k, line in enumerate(lines) if re.search(r"shift_adder #\(.*, 0\) op_", line)]
    at = adders[-1]
    lines[at] = re.sub(r", 0\) op_", ", 1) op_", lines[at])
    core.write_text("\n".join(lines) + "\n", "utf-8")
    return Built(folder, built.about)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_logic_and_table_are_the_network_at_every_input(compiler, seed):
    """Seeds 1 and 3 look up, 2 and 3 have gains."""
    model = hand_made.firmware_model(hand_made.integer_network(seed))
    logic = trace(model.network, model.domain, compiler)
    with table_of(model, lambda _n, _of: None) as table:
        found = exhaust(model, logic, table)
    assert (found.inputs, found.logic, found.table, found.overflows) == (model.domain.entries, 0, 0, 0)


def test_a_sample_of_inputs_is_called_one(model):
    logic = trace(model.network, model.domain)
    found = exhaust(model, logic, None, sample=100, seed=2)
    assert (found.inputs, found.logic, found.table, found.sampled) == (100, 0, None, True)
    other = changed_weight(model)
    wrong = exhaust(model, trace(other.network, other.domain), None, sample=100, seed=2)
    assert 0 < wrong.logic <= 100


def test_changed_weight_is_caught_at_every_level(model, built, tmp_path):
    other = changed_weight(model)
    logic = trace(other.network, other.domain)
    with table_of(model, lambda _n, _of: None) as table:
        assert exhaust(model, logic, table).logic > 0
    with pytest.raises(InputError, match=r"not what da4ml .* writes of this model"):
        check_core(built, logic)
    with pytest.raises(InputError, match="made of another model"):
        read_built(built.folder, other)


@needs_icarus
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("compiler", COMPILERS)
def test_icarus_passes_with_the_latency_that_is_stated(programs, tmp_path, compiler, seed):
    """Seed 1 has answers that are never negative, and so no sign bit; 2 and 3 have gains."""
    model = hand_made.firmware_model(hand_made.integer_network(seed))
    made = build(model, tmp_path / "rtl", cutoff=2, compiler=compiler)
    assert made.latency == made.about["stages"] + 3
    said = in_icarus(model, made, 300, programs)
    assert said == f"PASS: 300 muons, latency {made.latency} clock edges"


@needs_verilator
def test_verilator_is_the_network_bit_for_bit_with_gaps(model, built, programs):
    found = in_verilator(model, built, 20_000, programs)
    assert (found.muons, found.mismatches, found.first) == (20_000, 0, "")
    assert found.latency == built.latency
    assert 15_000 < found.recalibrated < 20_000


@needs_verilator
def test_changed_netlist_is_caught(model, built, programs, tmp_path):
    broken = changed_netlist(built, tmp_path / "broken")
    with pytest.raises(InputError, match=r"recalibrate_core.v: has changed"):
        read_built(broken.folder, model)
    with pytest.raises(InputError, match="not what da4ml"):
        check_core(broken, trace(model.network, model.domain))
    found = in_verilator(model, broken, 2000, programs)
    assert found.mismatches > 0
    assert found.first.startswith("muon ")
    if have_icarus():
        assert in_icarus(model, broken, 100, programs).startswith("FAIL")


def test_folder_has_what_people_need(model, built):
    assert read_built(built.folder, model).about == built.about
    names = {p.name for p in built.folder.iterdir()}
    assert names >= {
        *SOURCES,
        "recalibrate.vh",
        "recalibrate_tb.v",
        "vectors.hex",
        "LICENSE.da4ml",
        "SHA256SUMS",
    }
    text = (built.folder / "README.md").read_text("utf-8")
    assert "@" not in text.replace("10 @", "")
    assert f"{built.latency} edges later" in text
    assert "| isRecal | 57:1 |" in text
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in (built.folder / "LICENSE.da4ml").read_text("utf-8")
    assert json.loads((built.folder / "build.json").read_text())["network"] == model.sha256


def test_same_model_gives_the_same_folder(model, built, tmp_path):
    again = build(model, tmp_path / "rtl", cutoff=3)
    assert {p.name for p in again.folder.iterdir()} == {p.name for p in built.folder.iterdir()}
    for path in built.folder.iterdir():
        assert (again.folder / path.name).read_bytes() == path.read_bytes()


def test_folder_of_something_else_is_not_overwritten(model, tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="no folder of `l1scout firmware build`"):
        build(model, tmp_path, cutoff=3)
    assert (tmp_path / "mine").read_text() == "keep"


def test_float_model_and_unknown_compiler_are_refused(model, tmp_path):
    with pytest.raises(InputError, match="not a firmware model"):
        build(hand_made.network(), tmp_path / "rtl", cutoff=3)
    with pytest.raises(InputError, match="no compiler 'vivado'"):
        build(model, tmp_path / "rtl", cutoff=3, compiler="vivado")


@pytest.mark.parametrize(("clock", "cutoff"), [(100, 15), (250, 5), (400, 2), (1500, 1)])
def test_faster_clock_means_fewer_adders_between_registers(clock, cutoff):
    assert cutoff_for(clock) == cutoff


@needs_verilator
def test_wrapper_alone_passes_the_linter(built, tmp_path):
    inputs, outputs = (sum(built.about[n]) - 1 for n in ("input_bits", "output_bits"))
    stub = tmp_path / "recalibrate_core.v"
    stub.write_text(
        f"module recalibrate_core(input clk, input [{inputs}:0] model_inp, output [{outputs}:0] model_out);\n"
        f"assign model_out = {{model_inp[0], {{{outputs}{{clk}}}}}}; endmodule\n"
    )
    flags = ["-Wall", "-Wno-UNUSEDSIGNAL", "--lint-only", f"-I{built.folder}", "--top-module", "recalibrate"]
    done = subprocess.run(
        ["verilator", *flags, str(built.sources[0]), str(stub)], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "recalibrate.v" in line] == []


def test_answers_of_more_bits_than_the_wrapper_has_are_refused(model, tmp_path):
    layers = list(model.network.layers)
    layers[-1] = dataclasses.replace(
        layers[-1], weights=layers[-1].weights * 512, bits=np.full(3, 25, np.int64)
    )
    network = dataclasses.replace(model.network, layers=tuple(layers))
    with pytest.raises(InputError, match=r"bits, more than \[15, 14, 15\]"):
        build(dataclasses.replace(model, network=network), tmp_path / "rtl", cutoff=3)

"""The table: exactly the quantised network, and never another one's or a damaged one."""

import dataclasses
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from chain import PATIENCE_S
from hand_made import TINY, evaluate, gain_network, model, network
from l1scout.deploy.engines.table import TableEngine, build, finest_steps
from l1scout.deploy.table_file import HEADER_BYTES, LARGEST
from l1scout.errors import InputError
from l1scout.model.directory import Model


@pytest.fixture(scope="module")
def tiny():
    return network()


@pytest.fixture(scope="module")
def path(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "tiny.table"
    build(tiny, path)
    return path


def test_it_is_the_quantised_network_at_every_input(tiny, path):
    table = TableEngine(tiny, path)
    hardware = tiny.domain.hardware(0, tiny.domain.entries)
    exact = evaluate(tiny.layers, hardware)
    wanted = np.rint(exact / table.steps[:, None])
    assert np.array_equal(table.integers(slice(None)), wanted)
    assert np.array_equal(table.correct(hardware), wanted * table.steps[:, None])  # equal, not close
    for step, largest, most in zip(table.steps, np.abs(exact).max(axis=1), LARGEST, strict=True):
        assert np.log2(step) % 1 == 0
        assert most / 2 < largest / step <= most


def test_steps_are_powers_of_two_that_reach():
    steps = finest_steps(np.array([1.0, 32767.0, 32768.0, 0.0]), 32767)
    assert steps[:3].tolist() == [2.0**-14, 1.0, 2.0]
    assert steps[3] > 0


def test_outside_the_domain_is_nan_and_nothing_else_is(tiny, path):
    table = TableEngine(tiny, path)
    inside = np.array([10, 0, 10, 1])
    rows = [inside]
    for k, name in enumerate(("hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge")):
        for value in (TINY[name][0] - 1, TINY[name][1] + 1, -32768, 32767, 1 << 16, -(1 << 40), 1 << 62):
            row = inside.copy()
            row[k] = value
            rows += [row, inside]
    answers = table.correct(np.array(rows).T)
    assert np.isnan(answers[:, 1::2]).all()
    assert np.array_equal(answers[:, ::2], np.repeat(answers[:, :1], answers[:, ::2].shape[1], axis=1))


def looked_up(table, domain, hardware):
    """Look muons up in numpy: corrections, NaN outside the domain."""
    columns = np.asarray(hardware, np.int64)
    low, size, stride = (np.array(v)[:, None] for v in (domain.low, domain.size, domain.stride))
    index = columns - low
    inside = ((index >= 0) & (index < size)).all(axis=0)
    entries = table.integers((index * stride).sum(axis=0) * inside)
    return np.where(inside, entries * table.steps[:, None], np.nan).astype(np.float32)


def some_muons(domain, n, seed=0):
    """Draw muons of which a quarter is outside the domain."""
    rng = np.random.default_rng(seed)
    hardware = domain.hardware(0, domain.entries)[:, rng.integers(0, domain.entries, n)]
    hardware[rng.integers(0, len(hardware), n // 4), rng.integers(0, n, n // 4)] = -32768
    return hardware


@pytest.mark.parametrize("make", [network, gain_network])  # four inputs and three
def test_any_number_of_muons_is_answered_and_no_memory_beside_is_written(make, tmp_path):
    m = make()
    build(m, tmp_path / "t")
    table = TableEngine(m, tmp_path / "t")
    hardware = some_muons(m.domain, 200)
    wanted = looked_up(table, m.domain, hardware)
    assert 20 < np.isnan(wanted[0]).sum() < 60
    for n in (*range(35), 63, 64, 100):
        out = np.full((3, 200), 7, np.float32)
        columns = hardware[:, 3 : 3 + n]
        given = out[:, 50 : 50 + n]
        assert table.correct(columns, given) is given
        assert np.array_equal(given, wanted[:, 3 : 3 + n], equal_nan=True)
        assert (out[:, :50] == 7).all()
        assert (out[:, 50 + n :] == 7).all()


def test_muons_need_not_lie_side_by_side(tiny, path):
    table = TableEngine(tiny, path)
    hardware = some_muons(tiny.domain, 100)
    wanted = looked_up(table, tiny.domain, hardware)
    out = np.zeros((100, 3), np.float32).T
    for given in (hardware, np.ascontiguousarray(hardware.T).T, np.repeat(hardware, 2, axis=1)[:, ::2]):
        for target in (None, out, np.zeros((6, 200), np.float32)[::2, ::2]):
            assert np.array_equal(table.correct(given, target), wanted, equal_nan=True)


def test_any_changed_bit_is_refused(tiny, path, tmp_path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(24), *rng.integers(24, HEADER_BYTES, 60), *rng.integers(HEADER_BYTES, len(content), 60)]
    damaged = tmp_path / "damaged"
    for place in [*places, len(content) - 1]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(changed)
        with pytest.raises(InputError, match=r"damaged|not a table"):
            TableEngine(tiny, damaged)


@pytest.mark.parametrize("size", [0, 1, 20, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 8, -8, -1])
def test_a_piece_is_refused(tiny, path, tmp_path, size):
    (tmp_path / "piece").write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"not a table|cut short"):
        TableEngine(tiny, tmp_path / "piece")
    (tmp_path / "piece").write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="cut short"):
        TableEngine(tiny, tmp_path / "piece")


def test_another_version_is_refused(tiny, path, tmp_path):
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 3)
    content[16:20] = bytes(4)
    content[16:20] = struct.pack("<I", zlib.crc32(content[:HEADER_BYTES]))
    (tmp_path / "new").write_bytes(content)
    with pytest.raises(InputError, match="table version 3, but this program reads 2"):
        TableEngine(tiny, tmp_path / "new")


def test_another_model_is_refused(tiny, path):
    other = network(7)
    narrow = dataclasses.replace(tiny.card, domain={**tiny.card.domain, "hwPt": (6, 19)})
    for changed in (other, Model(narrow, tiny.network)):
        with pytest.raises(InputError, match="made of another model"):
            TableEngine(changed, path)


def test_what_is_not_there_says_how_to_make_it(tiny, tmp_path):
    with pytest.raises(InputError, match="`l1scout compile --engine table` makes it"):
        TableEngine(tiny, tmp_path / "none")


def test_building_leaves_nothing_behind_when_it_fails(tmp_path):
    bad = Model(*model(bias=(0, np.nan, 0), domain=TINY))
    with pytest.raises(InputError, match="not finite everywhere"):
        build(bad, tmp_path / "t")
    huge = Model(*model(domain={**TINY, "hwPt": (0, 30000), "hwEtaAtVtx": (0, 30000)}))
    with pytest.raises(InputError, match="too many for a table"):
        build(huge, tmp_path / "t")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        build(network(), tmp_path / "file" / "t")


def test_progress_reaches_its_end(tiny, tmp_path):
    told = []
    build(tiny, tmp_path / "t", progress=lambda n, of: told.append((n, of)))
    assert told[-1] == (2 * tiny.domain.entries, 2 * tiny.domain.entries)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_processes_share_the_file(tiny, path):
    own = TableEngine(tiny, path)
    wanted = float(own.correct(tiny.domain.hardware(0, 5000)).sum())
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from hand_made import network; from l1scout.deploy.engines.table import TableEngine\n"
        "m = network(); t = TableEngine(m, sys.argv[1])\n"
        "print(float(t.correct(m.domain.hardware(0, 5000)).sum()))"
    )
    command = [sys.executable, "-c", code, str(path), *sys.path]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [float(worker.communicate(timeout=PATIENCE_S)[0]) for worker in workers] == [wanted] * 2
    assert not own.entries.flags.writeable

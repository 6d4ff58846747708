"""The Micron DLA's adapter against stand-ins with the SDK's two signatures, and JAX on what there is."""

import sys
import types

import numpy as np
import pytest

from hand_made import evaluate, network, scaled_network
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.gpu import GpuEngine
from l1scout.deploy.engines.mdla import MdlaEngine
from l1scout.errors import InputError
from mdla_stand_in import New, Old


@pytest.mark.parametrize("board", [Old, New])
def test_both_generations(board):
    m = scaled_network()
    hardware = m.domain.hardware(0, m.domain.entries)[:, ::501]
    engine = MdlaEngine(m, clusters=2, sdk=types.SimpleNamespace(MDLA=board))
    answer = engine.correct(hardware)
    assert np.abs(answer - evaluate(m.layers, hardware)).max() < 1e-4
    device = board.made[-1]
    assert device.flags["clusters"] == 2
    assert str(device.flags["hwlinear"]) == "1"
    engine.close()
    assert device.calls == ["SetFlag", "Compile", "Init", "Free"]


def test_another_interface_is_refused():
    class Newer:
        def Compile(self, graph):  # noqa: N802
            pass

    with pytest.raises(InputError, match=r"unknown Compile\(graph\)"):
        MdlaEngine(scaled_network(), sdk=types.SimpleNamespace(MDLA=Newer))
    with pytest.raises(InputError, match="do not know Softmax"):
        MdlaEngine(network(hidden="softmax"), sdk=types.SimpleNamespace(MDLA=New))


def test_clusters_are_a_setting(monkeypatch):
    monkeypatch.setitem(sys.modules, "microndla", types.SimpleNamespace(MDLA=New))
    create_engine("mdla:2", scaled_network())
    assert New.made[-1].flags["clusters"] == 2
    for setting in ("two", "0", "-1", "9" * 40):
        with pytest.raises(InputError, match="number of clusters"):
            create_engine(f"mdla:{setting}", scaled_network())


def test_without_the_sdk_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "microndla", None)
    with pytest.raises(InputError, match="`microndla` cannot be loaded") as error:
        create_engine("mdla", scaled_network())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("hidden", ["relu", "softmax"])
def test_jax_answers_on_any_device(hidden, monkeypatch):
    monkeypatch.setattr("l1scout.deploy.engines.gpu.BATCH", 4096)
    m = network(hidden=hidden)
    engine = GpuEngine(m)
    hardware = m.domain.hardware(0, m.domain.entries)
    wanted = evaluate(m.layers, hardware)
    assert engine.device
    assert np.abs(engine.correct(hardware) - wanted).max() < 1e-4
    out = np.empty((3, 5), np.float32)
    assert engine.correct(hardware[:, :5], out) is out
    assert np.abs(out - wanted[:, :5]).max() < 1e-4
    assert create_engine("gpu", m).correct(hardware[:, :0]).shape == (3, 0)

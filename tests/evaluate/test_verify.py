"""Verification: deviations that are known are found, in every unit."""

import numpy as np
import pytest

from hand_made import evaluate, network, scaled_network
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.table import TableEngine, build
from l1scout.errors import InputError
from l1scout.evaluate.verify import keras_reference, verify
from l1scout.formats.streams.muon import PT
from l1scout.model.directory import load_model
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import probes, save
from toy_muons import toy_dataset


class Off:
    """An engine that is wrong by a constant, and by 1 GeV at one input."""

    def __init__(self, m):
        self.model = m

    def correct(self, hardware, out=None):
        answer = evaluate(self.model.layers, hardware) + np.array([[0.0007], [0.0002], [0.0]])
        answer[2, (hardware == np.array([[3], [2], [20], [1]])).all(axis=0)] += 1
        return answer


def test_known_deviations_are_found():
    m = network()
    told = []
    found = verify(m, {"off": Off(m)}, lambda h: m.layers(h), progress=lambda n, of: told.append((n, of)))[
        "off"
    ]
    phi, eta, pt = found.deviations
    assert found.inputs == m.domain.entries == 20910
    assert told[-1] == (20910, 20910)
    assert (phi.worst, phi.rms, phi.moved) == (pytest.approx(0.0007), pytest.approx(0.0007), 0)
    assert phi.worst_counts == pytest.approx(0.0007 / (2 * np.pi / 576))
    assert (eta.worst_counts, eta.moved) == (pytest.approx(0.0002 / 0.010875), 1)
    assert pt.moved == 1 / 20910
    assert (pt.worst, pt.rms) == (pytest.approx(1), pytest.approx(20910**-0.5))
    assert (pt.worst_counts, pt.unit) == (pytest.approx(2), "GeV")
    usable = PT.to_physical(20) - evaluate(m.layers, np.array([[3], [2], [20], [1]]))[2, 0]
    assert found.worst_relative_pt == pytest.approx(1 / usable)
    assert found.inexact is None
    assert not found.close


def test_the_integer_network_is_compared_and_counts_what_does_not_fit():
    m = scaled_network()
    names = ("fixed", "fixed:Q8.16,variable", "fixed:Q2.6")
    found = verify(m, {n: create_engine(n, m) for n in names}, lambda h: m.layers(h))
    coarse, fine, narrow = (found[n] for n in names)
    assert (coarse.overflows, coarse.weight_overflows) == (fine.overflows, fine.weight_overflows) == (0, 0)
    for a, b in zip(coarse.deviations, fine.deviations, strict=True):
        assert 0 < b.worst < a.worst / 10
    assert narrow.overflows > 0 or narrow.weight_overflows > 0


def test_a_wrong_table_entry_and_nan_are_found(tmp_path):
    m = network()
    build(m, tmp_path / "t")
    table = TableEngine(m, tmp_path / "t")
    right = verify(m, {"t": table}, lambda h: m.layers(h))["t"]
    assert right.inexact == 0
    assert right.close
    table.entries = table.entries.copy()
    table.entries[777, 1] += 1
    assert verify(m, {"t": table}, lambda h: m.layers(h))["t"].inexact == 1

    class Mute(Off):
        def correct(self, hardware, out=None):
            return np.full((3, hardware.shape[1]), np.nan)

    deviation = verify(m, {"m": Mute(m)}, lambda h: m.layers(h))["m"].deviations[0]
    assert np.isnan(deviation.worst)
    assert deviation.moved == 1


@pytest.mark.parametrize("recipe", ["A", "F"])
def test_keras_layer_by_layer_is_keras(tmp_path, recipe):
    trained = fit(toy_dataset(2000), RECIPES[recipe], epochs=1)
    save(trained, tmp_path / "m")
    m = load_model(tmp_path / "m")
    hardware = probes(m.card, 500).T.astype(np.int16)
    columns = {q.name: hardware[k] for k, q in enumerate(m.card.inputs)}
    wanted = m.card.physical(trained.model.predict(m.card.normalise(columns), verbose=0)).T
    reference = keras_reference(m)(hardware)
    scale = np.array([[q.scale] for q in m.card.outputs])
    assert np.abs((reference - wanted) / scale).max() < 1e-5
    for name in ("onnx", "fused"):
        assert np.abs((create_engine(name, m).correct(hardware) - reference) / scale).max() < 1e-5
    (tmp_path / "m" / "model.keras").write_bytes(b"no")
    with pytest.raises(InputError, match="not a usable Keras model"):
        keras_reference(m)


def test_layers_of_another_kind_are_refused(tmp_path):
    import keras  # after l1scout has chosen its backend

    keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)]).save(tmp_path / "model.keras")
    m = network()
    object.__setattr__(m, "directory", tmp_path)
    with pytest.raises(InputError, match="is not Dense, Embedding, BatchNormalization"):
        keras_reference(m)

"""Import networks trained elsewhere: an ONNX file becomes the network of a model directory.

`l1scout.training.foreign` reads the file; here it is checked, evaluated on a data set, and given a card.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.deploy.recalibrate import Recalibrated, Recalibrator
from l1scout.errors import InputError, printable
from l1scout.evaluate.metrics import ratios, residuals, scores
from l1scout.evaluate.targets import corrected, raw_residuals
from l1scout.files import complete_folder
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model import resolution
from l1scout.model.card import ONNX_FILE, Card
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model, network_file
from l1scout.model.onnx_export import interface
from l1scout.model.onnx_function import OnnxFunction
from l1scout.model.quantities import INPUTS, OUTPUTS, VARIABLES, Residuals
from l1scout.training.fit import Validation, data_record, known_finders, refuse_unselected, versions
from l1scout.training.foreign import ANSWERS, ForeignGraph, open_source
from l1scout.training.gains import Gains
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import TOLERANCE, check_target, probes
from l1scout.training.scaling import domain, scaling
from l1scout.training.wrap_foreign import adapted, corrections

_FEW = 7
"""Number of muons in a small test batch."""
_SUSPICIOUS, _WORST = 1.2, 10.0
"""Typical residuals, relative to the trigger's, from which other orders are tried, and that are refused."""


@dataclass(frozen=True)
class Imported:
    """An imported network, its scores on the test part, and why test muons were left unchanged."""

    model: Model
    validation: Validation
    left_as_is: Mapping[str, int]


def import_network(
    path: str | Path,
    data: Dataset,
    *,
    answers: str,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    name: str | None = None,
) -> Imported:
    """Make a model from an ONNX file, and evaluate it.

    Parameters
    ----------
    path : str or Path
        ONNX file.
    data : Dataset
        All parts. It gives the domain; its test part, which the network must not have seen, the scores, and
        its validation part the predicted uncertainties.
    answers : str
        What the outputs are: a key of `ANSWERS`.
    inputs : sequence of str, optional
        Hardware columns in the order of the network's inputs; by default the inputs' own names.
    outputs : sequence of str, optional
        Quantities (`VARIABLES`, or `IGNORED`) in the order of the network's outputs; by default the outputs'
        own names. A quantity that is not among them is not corrected.
    name : str, optional
        Of the model; by default that of the file.

    Raises
    ------
    InputError
        If the file is not a usable network, its inputs or outputs are not those stated, its answers depend on
        more than one muon's inputs, residuals show that their sign, unit or order is not what was stated, or
        the data hold muons outside the selection of `l1scout dataset`.
    """
    source = open_source(Path(path), answers, inputs, outputs)
    used = (*INPUTS, *(n for n in source.columns if n not in INPUTS))
    missing = [n for n in used if n not in data.columns]
    if missing:
        msg = f"{data.name}: no column {', '.join(missing)}, which {source.path.name} takes"
        raise InputError(msg)
    refuse_unselected(data)
    model = _wrapped(source, _card(source, data, used, name))
    return _measured(source, model, data)


def _card(source: ForeignGraph, data: Dataset, used: Sequence[str], name: str | None) -> Card:
    """Return the card of a network before it is evaluated."""
    plain = RECIPES["small"]
    scaled = scaling(data, plain, used, Gains(tuple(used)))
    return Card(
        name=printable(name or source.path.stem),
        inputs=tuple(q for q in scaled[0] if q.name in _taken(source)),
        outputs=scaled[1],
        domain=domain(data, plain, used),
        finders=known_finders(data),
        recipe={"imported": source.path.name, "answers": source.answers},
        training={},
        data=data_record(data, len(data)),
        scores={},
        onnx={},
        versions=versions(),
        imported={
            "file": source.path.name,
            "sha256": hashlib.sha256(source.content).hexdigest(),
            "producer": printable(f"{source.proto.producer_name} {source.proto.producer_version}".strip()),
            "nodes": dict(Counter(n.op_type for n in source.proto.graph.node)),
            "inputs": list(source.columns),
            "outputs": list(source.quantities),
            "answers": f"{source.answers}: {ANSWERS[source.answers]}",
        },
    )


def _taken(source: ForeignGraph) -> set[str]:
    """Return the columns that the wrapped graph takes: its own, and the L1 values of corrected ones."""
    fields = {"phi": PHI_VTX, "eta": ETA_VTX, "pt": PT}
    from_values = [fields[q].name for q in source.quantities if q in fields and source.answers == "values"]
    return {*source.columns, *from_values}


def save_imported(imported: Imported, directory: str | Path) -> None:
    """Write a model directory: ``model.onnx``, ``card.json`` and their checksums; there is no Keras network.

    Raises
    ------
    InputError
        If the directory holds something else or cannot be written.
    """
    path = Path(directory)
    check_target(path)
    with complete_folder(path) as part:
        (part / ONNX_FILE).write_bytes(imported.model.onnx_bytes)
        imported.model.card.write(part)
        write_sums(part)


def _wrapped(source: ForeignGraph, card: Card) -> Model:
    """Wrap the graph, with a free batch size if the graph allows it."""
    batch = next((p.batch for p in (*source.inputs, *source.outputs) if p.batch), None)
    hardware = probes(card).T
    columns = {q.name: row for q, row in zip(card.inputs, hardware, strict=True)}
    wanted = corrections(source, columns, batch)
    last: InputError | None = None
    for rows in dict.fromkeys((None, batch)):
        try:
            content = adapted(source, card, rows)
            model = Model(card, OnnxFunction(content), str(source.path))
            engine = OnnxEngine(model)
            given = engine.correct(hardware)
            alone = np.concatenate(
                [engine.correct(hardware[:, k : k + _FEW]) for k in range(0, 20 * _FEW, _FEW)], axis=1
            )
            turned = engine.correct(hardware[:, ::-1])[:, ::-1]
        except InputError as error:
            last = error
            continue
        apart = {
            "the batch's size": _apart(given[:, : alone.shape[1]], alone),
            "its order": _apart(given, turned),
        }
        bad = [why for why, d in apart.items() if not _close(d)]
        worst = _apart(given, wanted)
        if not bad and _close(worst):
            return _identified(model, source, rows, worst)
        why = f"answers depend on {bad[0]}" if bad else f"answers differ from its own by {worst.max():.2g}"
        last = InputError(
            f"{source.path}: {why}: not a function of one muon's inputs (is it in training mode, or random?)"
        )
    assert last
    raise last


def _identified(model: Model, source: ForeignGraph, rows: int | None, worst: NDArray[np.float64]) -> Model:
    """Describe the ONNX file in the card."""
    about = {
        "opset": max(
            (o.version for o in source.proto.opset_import if o.domain in ("", "ai.onnx")), default=0
        ),
        "ir": source.proto.ir_version,
        "batch": rows,
        "max_deviation_from_original": dict(zip(OUTPUTS, worst.tolist(), strict=True)),
        **interface(model.card),
    }
    return replace(model, card=replace(model.card, onnx=about, network=network_file(model.network)))


def _apart(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest difference of each output; infinite where only one of two is finite."""
    both = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore"):
        off = np.abs(a.astype(np.float64) - b)
    off[0] = np.minimum(off[0], np.abs(off[0] - 2 * np.pi))  # of angles
    off = np.where(both, off, np.where(np.isfinite(a) == np.isfinite(b), 0, np.inf))
    return np.asarray(off.max(axis=1, initial=0))


def _close(apart: NDArray[np.float64]) -> bool:
    return all(d <= TOLERANCE[n] for n, d in zip(OUTPUTS, apart, strict=True))


def _measured(source: ForeignGraph, model: Model, data: Dataset) -> Imported:
    """Score a model on the test part, and take its uncertainties from the validation part."""
    recalibrator = Recalibrator(model.card, OnnxEngine(model))
    test, validation = data.part("test"), data.part("validation")
    _refuse_other_answers(source, model, test)
    raw = raw_residuals(test)
    answer, after = _after(recalibrator, test)
    validated = Validation(len(test), scores(raw), scores(after), ratios(after, raw), "test")
    known, off = _after(recalibrator, validation)
    kept = known.recalibrated
    used = [q.name for q in model.card.inputs]
    table = resolution.learn(validation.select(kept).columns, {v: r[kept] for v, r in off.items()}, used)
    card = replace(model.card, scores=validated.as_dict(), resolution=table)
    left = {why: n for why, n in answer.reasons.items() if n}
    return Imported(replace(model, card=card), validated, left)


def _after(recalibrator: Recalibrator, data: Dataset) -> tuple[Recalibrated, Residuals]:
    answer = recalibrator(data.columns)
    return answer, residuals(answer.pt, answer.eta, answer.phi, data.columns)


def _refuse_other_answers(source: ForeignGraph, model: Model, test: Dataset) -> None:
    """Refuse answers that are not finite, or that fit the muons only with another meaning than stated."""
    hardware = np.stack([test[q.name] for q in model.card.inputs]).astype(np.int16)
    given = OnnxEngine(model).correct(hardware).T.astype(np.float64)
    lost = int(np.count_nonzero(~np.isfinite(given).all(axis=1)))
    if lost:
        msg = f"{source.path}: its answers for {lost} of {len(test)} test muons are not finite numbers"
        raise InputError(msg)
    raw = raw_residuals(test)
    l1 = _physical(test.columns)
    out = _own_outputs(source, given, l1)
    typical = {name: _typical(source, test, raw, _as_correction(name, out, l1)) for name in ANSWERS}
    stated, best = typical[source.answers], min(typical, key=lambda name: _mean(typical[name]))
    if _mean(stated) > 1.05 and _better(typical[best], stated):
        msg = (
            f"{source.path}: with --answers {source.answers} the typical residual is {_mean(stated):.2f} "
            f"times the trigger's, with --answers {best} {_mean(typical[best]):.2f} times: "
            f"choose --answers {best}"
        )
        raise InputError(msg)
    if max(stated.values()) > _SUSPICIOUS:
        _refuse_other_order(source, model, test, raw, stated)
    for quantity, times in stated.items():
        if times > _WORST:
            msg = (
                f"{source.path}: the typical residual of {quantity} becomes {times:.3g} times the "
                "trigger's: are its inputs and outputs in the stated order, does it take integers that are "
                "not scaled, and does it answer in rad, 1 and GeV?"
            )
            raise InputError(msg)


def _refuse_other_order(
    source: ForeignGraph, model: Model, test: Dataset, raw: Residuals, stated: Mapping[str, float]
) -> None:
    """Refuse a network that is better than the trigger once two of its inputs or outputs are exchanged."""
    l1 = _physical(test.columns)
    for what, out in _other_orders(source, model, test):
        found = _typical(source, test, raw, _as_correction(source.answers, out, l1))
        if _better(found, stated):
            msg = (
                f"{source.path}: in the stated order the typical residual is {_mean(stated):.2f} times the "
                f"trigger's, with {what} {_mean(found):.2f} times: correct the order"
            )
            raise InputError(msg)


def _other_orders(
    source: ForeignGraph, model: Model, test: Dataset
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the network's own outputs with two inputs, or two outputs, exchanged, and which two."""
    engine, names = OnnxEngine(model), [q.name for q in model.card.inputs]

    def outputs(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        given = engine.correct(np.stack([columns[n] for n in names]).astype(np.int16)).T
        return _own_outputs(source, given.astype(np.float64), _physical(columns))

    for a, b in combinations(source.columns, 2):
        yield f"{a} and {b} exchanged in --inputs", outputs({**test.columns, a: test[b], b: test[a]})
    out = outputs(test.columns)
    for a, b in combinations([q for q in VARIABLES if q in source.quantities], 2):
        columns = list(range(len(VARIABLES)))
        i, j = VARIABLES.index(a), VARIABLES.index(b)
        columns[i], columns[j] = j, i
        yield f"{a} and {b} exchanged in --outputs", out[:, columns]


def _physical(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return L1 phi, eta and pT of shape (muons, 3)."""
    return np.stack([f.to_physical(columns[f.name]) for f in (PHI_VTX, ETA_VTX, PT)], axis=1)


def _own_outputs(
    source: ForeignGraph, given: NDArray[np.float64], l1: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the network's own outputs, from L1 minus offline as the model gives it."""
    return {"subtract": given, "add": -given, "values": l1 - given}[source.answers]


def _as_correction(answers: str, out: NDArray[np.float64], l1: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return L1 minus offline, from a network's own outputs."""
    return {"subtract": out, "add": -out, "values": l1 - out}[answers]


def _typical(
    source: ForeignGraph, test: Dataset, raw: Residuals, correction: NDArray[np.float64]
) -> dict[str, float]:
    """Return the median absolute residual over the trigger's, for each quantity that the network answers."""
    after = corrected(raw, correction, test["recoPt"])
    used = [q for q in VARIABLES if q in source.quantities]
    return {q: _size(after[q]) / max(_size(raw[q]), 1e-9) for q in used}


def _mean(typical: Mapping[str, float]) -> float:
    return float(np.mean(list(typical.values())))


def _better(found: Mapping[str, float], stated: Mapping[str, float]) -> bool:
    """Decide whether another meaning of inputs or outputs fits the muons far better than the stated one."""
    return _mean(found) < min(0.8 * _mean(stated), 1.05)


def _size(x: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(x)))

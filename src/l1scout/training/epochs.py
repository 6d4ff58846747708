"""Training on more muons than memory holds: files are read anew in every epoch, in another order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import Dataset, joined, opened
from l1scout.errors import InputError
from l1scout.model.keras_backend import load_keras

if TYPE_CHECKING:
    import keras

SAMPLE = 2_000_000
"""Muons of a part that scaling, validation and guard look at, at most."""
BLOCK = 1 << 21
"""Training muons that are mixed in memory at a time, at least; 0.3 GB."""
Arrays = Callable[[Dataset], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Group:
    """A row group of a file: where it is, and its number of training muons."""

    path: Path
    number: int
    muons: int


@dataclass(frozen=True)
class MuonFiles:
    """Data sets in files; only a sample of them is in memory.

    Parameters
    ----------
    train, validation : Dataset
        Up to `SAMPLE` muons of each part: those with the smallest `split.fraction` of it, so that they do
        not depend on the order of files and rows. `train` also has a muon with the smallest and one with
        the largest value of each column of the whole part.
    groups : sequence of Group
    muons : int
        Of all parts.
    ends : Dataset
        A muon with the smallest and one with the largest value of each column, of all parts.
    """

    train: Dataset
    validation: Dataset
    groups: Sequence[Group]
    muons: int
    ends: Dataset

    @property
    def training_muons(self) -> int:
        """Muons to train on."""
        return sum(g.muons for g in self.groups)

    def blocks(self, rng: np.random.Generator) -> Iterator[Dataset]:
        """Go through all training muons once, in blocks of row groups from anywhere in the files."""
        held: list[Dataset] = []
        for k in rng.permutation(len(self.groups)):
            held.append(_part(self.groups[k]))
            if sum(map(len, held)) >= BLOCK:
                yield joined(held)
                held = []
        if held:
            yield joined(held)


def read_stream(paths: Sequence[Path], progress: Progress = lambda _done, _of: None) -> MuonFiles:
    """Read files once, check everything in them, and take the samples.

    Parameters
    ----------
    paths : sequence of Path
    progress : callable
        Told muons done and muons in all.

    Raises
    ------
    InputError
        As `dataset.matched.read_dataset`, of each file; or if no muon falls into a part, or muons are
        repeated.
    """
    total = done = 0
    for path in paths:
        with opened(path) as file:
            total += file.muons
    groups: list[Group] = []
    samples: dict[str, list[Dataset]] = {"train": [], "validation": []}
    ends: dict[tuple[str, str], Dataset] = {}
    ends_of_all: dict[tuple[str, str], Dataset] = {}
    keys: list[NDArray[np.float64]] = []
    for path in paths:
        looked_at: list[Dataset] = []
        with opened(path) as file:
            about = file.about, path.name, file.sha256()
            for number in range(file.groups):
                data = Dataset(file.read(number), *about)
                key = plausibility.keys(data.columns)
                keys.append(key[key < plausibility.SAMPLE / total])
                looked_at.append(data.select(key < plausibility.SAMPLE / file.muons))
                u = split.fraction(data.identity)
                for name, kept in samples.items():
                    low, high = split.PARTS[name]
                    kept.append(data.select((u >= low) & (u < min(high, low + SAMPLE / total))))
                train = data.select(u < split.PARTS["train"][1])
                groups.append(Group(path, number, len(train)))
                _extend(ends, train)
                _extend(ends_of_all, data)
                done += len(data)
                progress(done, total)
        plausibility.check(joined(looked_at).columns, str(path))
    plausibility.refuse_repeated(np.concatenate(keys), ", ".join(p.name for p in paths[:3]))
    found = {name: joined(kept) for name, kept in samples.items()}
    for name, part in found.items():
        if not len(part):
            msg = f"{part.name}: none of its {total} muons falls into the {name} part; use more muons"
            raise InputError(msg)
    sample = found["train"]
    known = replace(sample, columns=joined([sample, *ends.values()]).columns)
    return MuonFiles(known, found["validation"], groups, total, joined([*ends_of_all.values()]))


def _extend(ends: dict[tuple[str, str], Dataset], train: Dataset) -> None:
    """Keep a muon with the smallest and one with the largest value of each column."""
    for name, column in train.columns.items() if len(train) else ():
        for which, at in (("low", int(column.argmin())), ("high", int(column.argmax()))):
            old = ends.get((name, which))
            if old is None or (column[at] < old[name][0] if which == "low" else column[at] > old[name][0]):
                ends[name, which] = train.select(np.array([at]))


def _part(group: Group) -> Dataset:
    with opened(group.path) as file:
        data = Dataset(file.read(group.number), file.about, group.path.name)
    return data.select(split.part(data.identity, "train"))


def batches(stream: MuonFiles, arrays: Arrays, batch: int, seed: int) -> "keras.utils.PyDataset":
    """Give Keras the batches of a stream: mixed anew in every epoch, the same for the same seed.

    Parameters
    ----------
    stream : MuonFiles
    arrays : callable
        Makes inputs and targets of muons.
    batch, seed : int
    """
    keras = load_keras()

    class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.epoch = self.next = 0
            self.going: Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]] = iter(())

        def __len__(self) -> int:
            return -(-stream.training_muons // batch)

        def __getitem__(self, at: int) -> Any:
            if at == 0:
                self.going, self.next = _mixed(stream, arrays, batch, (seed, self.epoch)), 0
            if at != self.next:
                msg = f"batch {at} is asked for, {self.next} is next"
                raise RuntimeError(msg)
            self.next += 1
            return next(self.going)

        def on_epoch_end(self) -> None:
            self.epoch += 1

    return Batches()


def _mixed(
    stream: MuonFiles, arrays: Arrays, batch: int, seed: tuple[int, int]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    rng = np.random.default_rng(seed)
    left: tuple[NDArray[np.float32], ...] = ()
    for block in stream.blocks(rng):
        x, y = arrays(block)
        order = rng.permutation(len(x))
        x, y = x[order], y[order]
        if left:
            x, y = np.concatenate([left[0], x]), np.concatenate([left[1], y])
        whole = len(x) // batch * batch
        for start in range(0, whole, batch):
            yield x[start : start + batch], y[start : start + batch]
        left = x[whole:], y[whole:]
    if left and len(left[0]):
        yield left[0], left[1]

"""Training on more muons than memory holds: files are read anew in every epoch, in another order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import Dataset, joined, opened
from l1scout.dataset.paper import paper_part
from l1scout.errors import InputError
from l1scout.formats.streams.muon import FINDERS

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
    paper : bool
        All of this is of the reference paper's part of the files alone (`l1scout.dataset.paper`).
    """

    train: Dataset
    validation: Dataset
    groups: Sequence[Group]
    muons: int
    ends: Dataset
    paper: bool = False

    @property
    def training_muons(self) -> int:
        """Muons to train on."""
        return sum(g.muons for g in self.groups)

    def blocks(self, rng: np.random.Generator) -> Iterator[Dataset]:
        """Go through all training muons once, in blocks of row groups from anywhere in the files."""
        held: list[Dataset] = []
        for k in rng.permutation(len(self.groups)):
            held.append(_training_part(self.groups[k], self.paper))
            if sum(map(len, held)) >= BLOCK:
                yield joined(held)
                held = []
        if held:
            yield joined(held)


def read_stream(
    paths: Sequence[Path], progress: Progress = lambda _done, _of: None, *, paper: bool = False
) -> MuonFiles:
    """Read files once, check everything in them, and take the samples.

    Parameters
    ----------
    paths : sequence of Path
    progress : callable
        Told muons done and muons in all.
    paper : bool
        Take the reference paper's part of the files, as recipes with `Recipe.papers_part` need it.

    Raises
    ------
    InputError
        As `dataset.matched.read_dataset`, of each file; or if no muon falls into a part, or muons are
        repeated.
    """
    total = done = muons = 0
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
                done += len(data)
                data = data.select(paper_part(data.columns, FINDERS)) if paper else data
                u = split.fraction(data.identity)
                for name, kept in samples.items():
                    low, high = split.PARTS[name]
                    kept.append(data.select((u >= low) & (u < min(high, low + SAMPLE / total))))
                train = data.select(u < split.PARTS["train"][1])
                groups.append(Group(path, number, len(train)))
                _extend(ends, train)
                _extend(ends_of_all, data)
                muons += len(data)
                progress(done, total)
        plausibility.check(joined(looked_at).columns, str(path))
    plausibility.refuse_repeated(np.concatenate(keys), ", ".join(p.name for p in paths[:3]))
    found = {name: joined(kept) for name, kept in samples.items()}
    for name, part in found.items():
        if not len(part):
            msg = f"{part.name}: none of its {muons} muons falls into the {name} part; use more muons"
            raise InputError(msg)
    sample = found["train"]
    known = replace(sample, columns=joined([sample, *ends.values()]).columns)
    return MuonFiles(known, found["validation"], groups, muons, joined([*ends_of_all.values()]), paper)


def _extend(ends: dict[tuple[str, str], Dataset], train: Dataset) -> None:
    """Keep a muon with the smallest and one with the largest value of each column."""
    for name, column in train.columns.items() if len(train) else ():
        for which, at in (("low", int(column.argmin())), ("high", int(column.argmax()))):
            old = ends.get((name, which))
            if old is None or (column[at] < old[name][0] if which == "low" else column[at] > old[name][0]):
                ends[name, which] = train.select(np.array([at]))


def _training_part(group: Group, paper: bool) -> Dataset:
    with opened(group.path) as file:
        data = Dataset(file.read(group.number), file.about, group.path.name)
    if paper:
        data = data.select(paper_part(data.columns, FINDERS))
    return data.select(split.part(data.identity, "train"))


def mixed(
    stream: MuonFiles, arrays: Arrays, size: int, seed: tuple[int, int]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Go through all training muons once, mixed: the same for the same seed.

    Parameters
    ----------
    stream : MuonFiles
    arrays : callable
        Makes inputs and targets of muons.
    size : int
        Muons at a time; the last time it may be fewer.
    seed : (int, int)
        Of the training, and number of the epoch.
    """
    rng = np.random.default_rng(seed)
    left: tuple[NDArray[np.float32], ...] = ()
    for block in stream.blocks(rng):
        x, y = arrays(block)
        order = rng.permutation(len(x))
        x, y = x[order], y[order]
        if left:
            x, y = np.concatenate([left[0], x]), np.concatenate([left[1], y])
        whole = len(x) // size * size
        for start in range(0, whole, size):
            yield x[start : start + size], y[start : start + size]
        left = x[whole:], y[whole:]
    if left and len(left[0]):
        yield left[0], left[1]

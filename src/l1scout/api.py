"""Scouting data in a notebook: open files or a run, look at crossings, recalibrate, analyse."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import MUON_MASS, lowest_hw_pt
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.io.quality import ReadQuality
from l1scout.store.losses import with_losses
from l1scout.store.stored_run import stored_run

if TYPE_CHECKING:
    import awkward as ak

    from l1scout.analysis import Analysis, Result


_ROWS = ("run", "lumisection", "orbit", "bx")


class Data:
    """Scouting data, or files with offline muons: what `l1scout.open` returns.

    Iterating gives `OrbitData` in order, some orbits at a time, in constant memory. The properties read
    everything and keep it. Orbits that were read before, and those with a missing link, are left out and
    counted in `quality`.

    Parameters
    ----------
    title : str
        What the data are, for people.
    chunks : callable
        Starts reading from the beginning: takes the `ReadQuality` in which to count.
    files : iterable of Path
        That are read.
    accept_damaged : bool
        Use data of which half or more cannot be read.
    """

    def __init__(
        self,
        title: str,
        chunks: Callable[[ReadQuality], Iterable[OrbitData]],
        files: Iterable[Path] = (),
        *,
        accept_damaged: bool = False,
    ) -> None:
        self._title, self._chunks, self._accept_damaged = title, chunks, accept_damaged
        self.files = tuple(files)
        self.quality = ReadQuality()
        """What was left out in the last pass over the data, and why."""

    def __iter__(self) -> Iterator[OrbitData]:
        """Read from the beginning, some orbits at a time (InputError if a file is damaged)."""
        self.quality = ReadQuality()
        yield from self._chunks(self.quality)
        self.quality.check(allow_damaged=self._accept_damaged)

    @cached_property
    def _all(self) -> OrbitData:
        parts = list(self)
        if not parts:
            msg = f"{self._title}: holds no data"
            raise InputError(msg)
        names = list(dict.fromkeys(name for part in parts for name in part.streams))
        streams = {n: self._join(n, [p.streams[n] for p in parts if n in p.streams]) for n in names}
        offline = [p.offline for p in parts if p.offline is not None]
        joined = self._join("offline muon", offline) if offline and len(offline) == len(parts) else None
        same = len({p.origin for p in parts}) == 1
        return OrbitData(streams, joined, parts[0].origin if same else Origin(self._title))

    def _join(self, name: str, batches: list[OrbitBatch]) -> OrbitBatch:
        """Join the batches of a stream (InputError if the files have different columns of it)."""
        every = Counter(column for batch in batches for column in batch.columns)
        differ = sorted(column for column, times in every.items() if times < len(batches))
        if differ:
            msg = (
                f"{self._title}: not every {name} has the columns {', '.join(differ)}; open files of "
                "different formats separately, or iterate"
            )
            raise InputError(msg)
        return concatenate(batches)

    @property
    def streams(self) -> Mapping[str, OrbitBatch]:
        """Objects of each stream by its name, such as ``muon``: hardware columns and BX offsets."""
        return self._all.streams

    @property
    def muons(self) -> OrbitBatch:
        """Final muons of the Global Muon Trigger (InputError if the data have none)."""
        return self._all.muons

    @property
    def offline(self) -> OrbitBatch | None:
        """Offline muons of the same rows; None if the files hold none."""
        return self._all.offline

    @property
    def simulated(self) -> bool | None:
        """Whether the data are simulated; None where nothing says so."""
        return self._all.simulated

    @property
    def orbits(self) -> int | None:
        """Orbits that the data stand for, empty ones too; None for triggered data."""
        counts = [batch.n_orbits for batch in self.streams.values()]
        return None if None in counts else max((n for n in counts if n is not None), default=0)

    def to_awkward(self) -> "ak.Array":
        """Return all crossings as an awkward array; see `to_awkward`."""
        return to_awkward(self._all)

    def recalibrated(self, model: Recalibrator | str | Path) -> "Data":
        """Return the same data with recalibrated muons.

        Their batches get columns ``ptRecal`` (GeV), ``etaRecal``, ``phiRecal`` (rad) and ``isRecal``, and
        `to_awkward` has the recalibrated values as pt, eta and phi where ``isRecal``. The hardware columns
        stay.

        Parameters
        ----------
        model : Recalibrator, str or Path
            See `load_model`.
        """
        recalibrator = model if isinstance(model, Recalibrator) else load_model(model)

        def chunks(quality: ReadQuality) -> Iterator[OrbitData]:
            for data in self._chunks(quality):
                found = recalibrator(data.muons.columns)
                columns = {name.removeprefix("L1Mu_"): c for name, c in found.branches().items()}
                yield data.with_muons(data.muons.with_columns(**columns))

        title = f"{self._title}, recalibrated by {recalibrator.card.name}"
        return Data(title, chunks, self.files, accept_damaged=self._accept_damaged)

    def __repr__(self) -> str:
        """Return one line; nothing is read for it."""
        if "_all" not in self.__dict__:
            return f"<l1scout data: {self._title}; not read yet>"
        counts = [f"{b.n_objects:,} {n}s in {len(b):,} crossings" for n, b in self.streams.items()]
        counts += [f"{self.offline.n_objects:,} offline muons"] if self.offline is not None else []
        counts += [f"{self.orbits:,} orbits"] if self.orbits is not None else []
        kind = {True: "simulated", False: "real", None: "origin unknown"}[self.simulated]
        return f"<l1scout data: {self._title}; {', '.join([*counts, kind])}>"


def open(  # noqa: A001
    source: "str | Path | Iterable[str | Path]",
    *,
    run: int | None = None,
    source_id: int | None = None,
    intermediate: bool = False,
    flavour: str | None = None,
    accept_damaged: bool = False,
) -> Data:
    """Open files, folders or a run in a store.

    Parameters
    ----------
    source : str, Path or iterable of them
        Files of any format that l1scout reads, folders of such, or with `run` the folder of a store.
    run : int, optional
        A run in the store `source`.
    source_id : int, optional
        With `run`: which source, if the run has several.
    intermediate : bool
        Give intermediate muons, too, and a column ``intermediate`` that tells them from final muons.
    flavour : {"dpg", "scouting"}, optional
        Kind of a nano file, if its content does not tell.
    accept_damaged : bool
        Use data of which half or more cannot be read.

    Returns
    -------
    Data
        Nothing is read yet but what tells the formats.

    Raises
    ------
    InputError
        If a file is missing or unknown, or the run is not in the store.

    Examples
    --------
    >>> muons = l1scout.open("run.raw").to_awkward().muon
    >>> store = l1scout.open("store/", run=317435)
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(p) for p in source]
    stored = None
    if run is not None:
        if len(paths) != 1:
            msg = f"run {run}: name one store, not {len(paths)} paths"
            raise InputError(msg)
        stored = stored_run(paths[0], run, source_id)
        files, title = stored.files, f"run {run} of {paths[0]}"
    else:
        missing = [p for p in paths if not _exists(p)]
        if missing or not paths:
            msg = f"{printable(str(missing[0]))}: no such file or folder" if missing else "no file to open"
            raise InputError(msg)
        files = expand(paths)[0]
        title = paths[0].name if len(paths) == 1 else f"{len(paths)} files"

    def chunks(quality: ReadQuality) -> Iterator[OrbitData]:
        if stored is not None:
            return stored.read(quality, intermediate=intermediate, flavour=flavour)
        read = read_batches(files, quality=quality, intermediate=intermediate, flavour=flavour)
        return with_losses(read)

    return Data(title, chunks, files, accept_damaged=accept_damaged)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def to_awkward(data: OrbitData) -> "ak.Array":
    """Return data as an awkward array with one row per crossing (or triggered event).

    Returns
    -------
    ak.Array
        Fields ``run``, ``lumisection``, ``orbit``, ``bx`` (1..3564) and for each stream a list of records,
        such as ``muon``: physics values where the stream has them (``pt`` and ``mass`` in GeV, ``eta``,
        ``phi`` in rad, ``charge``), then the hardware columns. Records with pt, eta, phi and mass behave as
        Lorentz vectors of the library *vector*: ``(a.muon[:, 0] + a.muon[:, 1]).mass``. Offline muons are
        ``offline``. A crossing in which a stream has no object has an empty list.
    """
    import awkward as ak
    import vector

    vector.register_awkward()
    batches = dict(data.streams)
    if data.offline is not None:
        batches["offline"] = data.offline
    rows, lists = _joined_rows(list(batches.values()))
    fields: dict[str, Any] = {name: rows[name] for name in _ROWS}
    for (name, batch), counts in zip(batches.items(), lists, strict=True):
        physics = _offline_physics(batch) if name == "offline" else _physics(name, batch)
        columns = {**physics, **{n: c for n, c in batch.columns.items() if n not in physics}}
        is_vector = {"pt", "eta", "phi", "mass"} <= set(physics)
        record = ak.contents.RecordArray(
            [ak.contents.NumpyArray(np.asarray(c)) for c in columns.values()],
            list(columns),
            length=batch.n_objects,
            parameters={"__record__": "Momentum4D"} if is_vector else None,
        )
        fields[name] = ak.unflatten(record, counts)
    return ak.Array(fields, behavior=vector.backends.awkward.behavior)


def _joined_rows(batches: list[OrbitBatch]) -> tuple[dict[str, Any], list[Any]]:
    """Return the crossings of all streams in order of time, and each stream's counts in them."""
    first = batches[0]
    if all(
        len(b) == len(first) and all(np.array_equal(getattr(b, n), getattr(first, n)) for n in _ROWS)
        for b in batches[1:]
    ):
        return {n: np.asarray(getattr(first, n)) for n in _ROWS}, [b.counts for b in batches]
    every = np.concatenate([np.stack([getattr(b, n) for n in _ROWS], axis=1) for b in batches])
    rows, place = np.unique(every, axis=0, return_inverse=True)
    ends = np.cumsum([len(b) for b in batches])
    counts = [
        np.bincount(part, weights=b.counts, minlength=len(rows)).astype(np.int64)
        for part, b in zip(np.split(place.reshape(-1), ends[:-1]), batches, strict=True)
    ]
    return {n: rows[:, k] for k, n in enumerate(_ROWS)}, counts


def _physics(stream: str, batch: OrbitBatch) -> dict[str, Any]:
    values = dict(STREAMS[stream].physics(batch.columns)) if stream in STREAMS else {}
    if "isRecal" in batch.columns:
        values |= {n: batch[f"{n}Recal"] for n in ("pt", "eta", "phi")}
    return values


def _offline_physics(batch: OrbitBatch) -> dict[str, Any]:
    values = {n: batch[f"reco{n.title()}"] for n in ("pt", "eta", "phi")}
    values["mass"] = np.full(batch.n_objects, MUON_MASS, np.float32)
    return values | ({"charge": batch["recoCharge"]} if "recoCharge" in batch.columns else {})


def load_model(directory: str | Path, *, engine: str | None = None, errors: bool = False) -> Recalibrator:
    """Load a trained network, ready to recalibrate muons.

    Parameters
    ----------
    directory : str or Path
        Of the model.
    engine : str, optional
        What computes (one of `l1scout.engines`); by default the model's reference.
    errors : bool
        Give predicted uncertainties, too.

    Raises
    ------
    InputError
        If it is no model directory, is damaged, or the engine cannot run it.
    """
    return Recalibrator.load(directory, engine=engine, errors=errors)


def analyse(
    analysis: "str | type[Analysis[Any]]",
    data: Iterable[OrbitData],
    *,
    scheme: str | Path = "auto",
    **options: Any,
) -> "Result":
    """Analyse data.

    Parameters
    ----------
    analysis : str or type of Analysis
        One of `l1scout.analyses`, or its name.
    data : Data or iterable of OrbitData
        In order of time.
    scheme : str or Path
        Filling scheme: a known name, a JSON file, "none" for runs without beam, or "auto": found in the data.
    options
        Of the analysis (its ``Options``), and shared ones: ``section_orbits``, ``prescale``, ``min_pt``
        (GeV), ``min_hw_pt``, ``min_quality``.

    Returns
    -------
    Result
        ``numbers`` and ``tables``; ``figure()`` draws it.

    Raises
    ------
    InputError
        If there is no such analysis, or the data lack what it needs.
    TypeError
        If it has no such option.

    Examples
    --------
    >>> l1scout.analyse("luminosity", l1scout.open("run.raw"), min_pt=5.0).numbers
    """
    from l1scout.analysis import ANALYSES, Setup
    from l1scout.analysis._run import run_analysis
    from l1scout.analysis.common.schemes import load_scheme

    chosen = ANALYSES.find(analysis) if isinstance(analysis, str) else analysis
    shared = {f.name for f in fields(Setup)} - {"scheme"}
    setup = {name: value for name, value in options.items() if name in shared}
    if "min_pt" in setup:
        if not 0 <= setup["min_pt"] < np.inf:
            msg = f"min_pt must be 0 GeV or more, not {setup['min_pt']}"
            raise InputError(msg)
        setup.setdefault("min_hw_pt", lowest_hw_pt(setup["min_pt"]))
    own = chosen.Options(**{name: value for name, value in options.items() if name not in shared})
    needs = chosen.needs_of(own)
    given = None if scheme == "auto" or needs.scheme == "none" else load_scheme(str(scheme))

    def repetition() -> float:
        return data.quality.repetition if isinstance(data, Data) else 1.0

    found, _ = run_analysis(
        needs, lambda known: chosen(own, Setup(scheme=known, **setup)), data, given, repetition
    )
    found.independent = not isinstance(data, Data) or data.quality.independent
    return found.result()

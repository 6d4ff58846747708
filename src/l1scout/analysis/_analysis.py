"""Define what an analysis is (options, needs, a state that can be merged, a result), and register all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from l1scout.core.registry import Registry
from l1scout.errors import InputError

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.figure import Figure

    from l1scout.analysis.common.schemes import Scheme
    from l1scout.core.orbit_batch import OrbitBatch
    from l1scout.core.orbit_data import OrbitData

MUON_CUTS = ("min_pt", "min_hw_pt", "min_quality")
"""Names of the shared options that choose muons."""
TIME = ("section", "prescale")
"""Names of the shared options of rates."""


@dataclass(frozen=True)
class Option:
    """Describes an option in the annotation of a field: ``Annotated[float, Option("Largest |eta|.")]``.

    The field becomes an option of the command, which must be given if it has no default, and part of the
    provenance. A tuple is an option that may be given several times.

    Parameters
    ----------
    help : str
    unit : str
        Ends the option's name in the provenance, in lower case.
    low, high : float, optional
        Smallest and largest value.
    choices : sequence of str
        Values that are allowed; any if empty.
    flag : str
        Names on the command line with commas, such as ``--model,-m``; the field's name if empty.
    """

    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    flag: str = ""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Options of an analysis that has none of its own."""


@dataclass(frozen=True)
class Needs:
    """What an analysis needs of data and command line.

    Parameters
    ----------
    scheme : {"needed", "optional", "found", "none"}
        Whether a filling scheme is needed, used if it is known, only found in the data and recorded, or not
        used.
    counted_orbits : bool
        Whether data must say how many orbits were seen.
    streams : tuple of str
        Streams that data must have; the state takes the objects of the first one, see `all_streams`.
    columns : tuple of str
        Columns that these objects must have.
    shared : tuple of str
        Shared options that it uses, of `MUON_CUTS`, `TIME` and ``bx_range`` (of its figure).
    simulated_run : bool
        Whether it can be made of a simulated run; if not, it may have `Analysis.own_data`.
    all_streams : bool
        Whether the state takes the data with all their streams, instead of the objects of one.
    """

    scheme: Literal["needed", "optional", "found", "none"] = "needed"
    counted_orbits: bool = True
    streams: tuple[str, ...] = ("muon",)
    columns: tuple[str, ...] = ("hwPt",)
    shared: tuple[str, ...] = MUON_CUTS
    simulated_run: bool = True
    all_streams: bool = False

    def objects(self, data: "OrbitData") -> "OrbitBatch":
        """Return the objects that are looked at: of the first stream, or the main ones."""
        return data.streams[self.streams[0]] if self.streams else data.main

    def checked(self, data: "OrbitData") -> "OrbitData":
        """Return data that have what is needed (InputError if they lack it)."""
        self.check(data)
        return data

    def check(self, data: "OrbitData") -> None:
        """Refuse data that lack what is needed (InputError)."""
        missing = [name for name in self.streams if name not in data.streams]
        if missing:
            msg = f"{data.source or 'these data'}: no stream {', '.join(missing)}, which this analysis needs"
            raise InputError(msg)
        objects = self.objects(data)
        missing = [name for name in self.columns if objects.n_objects and name not in objects.columns]
        if missing:
            msg = f"{self.streams[0]}s have no {', '.join(missing)}, which this analysis needs"
            raise InputError(msg)
        if self.counted_orbits and objects.n_orbits is None:
            msg = "these data do not say how many orbits were seen: no rate can be made of them"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all analyses of one set of data share.

    Parameters
    ----------
    scheme : Scheme, optional
        Filling scheme, for analyses that use one.
    section_orbits : int
        Orbits of a section; 2^18 is a lumisection.
    prescale : float
        One crossing in N was kept.
    min_pt : float
        Smallest pT of a muon in GeV, for analyses that calibrate it; others cut on `min_hw_pt`.
    min_hw_pt, min_quality : int
        Smallest hwPt and hwQual of a muon.
    flavour : str, optional
        Of nano files that an analysis reads besides its data.
    accept_damaged : bool
        Whether it reads such files if most of them is damaged.
    """

    scheme: "Scheme | None" = None
    section_orbits: int = 1 << 18
    prescale: float = 1.0
    min_pt: float = 0.0
    min_hw_pt: int = 1
    min_quality: int = 0
    flavour: str | None = None
    accept_damaged: bool = False


@dataclass(frozen=True, repr=False)
class Result:
    """What an analysis found.

    Parameters
    ----------
    numbers : mapping of str to object
        For JSON: numbers, Measured as ``value`` and ``error``, lists; keys are snake_case and end in units.
    tables : mapping of str to sequence of mapping
        Rows, for screen, CSV and JSON.
    figure : callable, optional
        Draws the figure; matplotlib is imported when it is called.
    histograms : mapping of str to Hist
    warnings : sequence of str
        What the user should know about these numbers.
    rows_shown : int
        Rows of each table that the terminal shows.
    """

    numbers: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    figure: "Callable[[], Figure] | None" = None
    histograms: "Mapping[str, Hist]" = field(default_factory=dict)
    warnings: Sequence[str] = ()
    rows_shown: int = 12

    def __repr__(self) -> str:
        """Return the numbers that are no lists, and the sizes of the tables."""
        short = [f"{n}={v!r}" for n, v in self.numbers.items() if not isinstance(v, list | dict)]
        rows = [f"{n}: {len(table)} rows" for n, table in self.tables.items()]
        return f"<Result {', '.join([*short[:8], *rows])}>"

    def as_dict(self) -> dict[str, Any]:
        """Return numbers and tables under one key each; a number of the same name precedes a table."""
        return {**self.numbers, **{n: rows for n, rows in self.tables.items() if n not in self.numbers}}


class AnalysisState(Protocol):
    """The sums of an analysis: takes batches in order of time, and neighbours that follow."""

    def add(self, batch: Any, prescale: float = 1.0) -> None:
        """Take in a batch."""

    def merge(self, other: Any) -> None:
        """Add what follows."""


OptionsType = TypeVar("OptionsType")


class Analysis(ABC, Generic[OptionsType]):
    """Base of analyses: takes data in order of time, merges with neighbours, gives a result at any time.

    A subclass declares `Options` and `needs`, describes its result in `schema`, and implements `start` and
    `result`; registered by ``@ANALYSES.register(NAME)``, it has a command, a help, a JSON schema and an entry
    in the documentation. The first line of its module's docstring describes it.

    Parameters
    ----------
    options : Options, optional
    setup : Setup, optional

    Attributes
    ----------
    state : AnalysisState
        What `start` returned.
    independent : bool
        Whether crossings are independent; not if data repeat, as those of a source in a loop do.
    """

    Options: ClassVar[type] = NoOptions
    needs: Needs = Needs()
    schema: ClassVar[Any] = dict[str, Any]
    """Type of the JSON result: a dataclass, see `l1scout.analysis._schema`."""
    example_data: ClassVar[str] = ""
    """Data in the example of the help, where neither packets of muons nor a simulated run would do."""

    def __init__(self, options: OptionsType | None = None, setup: Setup | None = None) -> None:
        self.options: OptionsType = options if options is not None else self.Options()
        self.setup = setup or Setup()
        self.needs = self.needs_of(self.options)
        self.independent = True
        if self.needs.scheme == "needed" and self.setup.scheme is None:
            msg = "this analysis needs a filling scheme"
            raise InputError(msg)
        self.state = self.start()

    @classmethod
    def needs_of(cls, options: OptionsType) -> Needs:
        """Return what it needs with some options, of which the stream may be one; by default `needs`."""
        del options
        return cls.needs

    @abstractmethod
    def start(self) -> Any:
        """Return an empty `AnalysisState` for `options` and `setup`."""

    @abstractmethod
    def result(self) -> Result:
        """Return what was found so far."""

    def add(self, data: "OrbitData") -> None:
        """Take in data that follow those before (InputError if they lack what is needed)."""
        self.needs.check(data)
        self.state.add(data if self.needs.all_streams else self.needs.objects(data), self.setup.prescale)

    def merge(self, other: "Analysis[OptionsType]") -> None:
        """Add a piece of the same run or sample that follows in time: the sum equals that of all data.

        Raises
        ------
        ValueError
            If it is another analysis, or has other options, another filling scheme or other cuts.
        """
        same = type(self) is type(other) and self.options == other.options
        if not same or _plain(self.setup) != _plain(other.setup):
            msg = "only pieces of one analysis with the same options and filling scheme can be merged"
            raise ValueError(msg)
        self.state.merge(other.state)
        self.independent &= other.independent

    @classmethod
    def own_data(
        cls, options: OptionsType, seed: int
    ) -> "tuple[Iterator[OrbitData], Mapping[str, Any]] | None":
        """Return data that the options ask to be simulated, and their description; None if none are."""
        del options, seed
        return None

    def check_files(self, files: Sequence[Path]) -> list[str]:
        """Return warnings about files that will be analysed."""
        del files
        return []

    def model(self) -> Mapping[str, Any] | None:
        """Describe the network that is applied, for the provenance."""
        return None


ANALYSES: Registry[type[Analysis[Any]]] = Registry(
    "analyses", "l1scout.analysis", lambda: Analysis, classes=True
)


def _plain(setup: Setup) -> dict[str, Any]:
    """Return a setup with the filling scheme as values that can be compared; prescales may differ."""
    values = {n: v for n, v in vars(setup).items() if n != "prescale"}
    scheme = setup.scheme
    return values | {"scheme": scheme and (scheme.name, tuple(scheme.bx.tolist()))}


class OwnOption(NamedTuple):
    """An option of an analysis: its field, the type of its value, and its description."""

    field: Field[Any]
    type: Any
    about: Option

    @property
    def provenance_key(self) -> str:
        """Name in the provenance: with its unit."""
        return f"{self.field.name}_{self.about.unit.lower()}" if self.about.unit else self.field.name

    @property
    def flag(self) -> str:
        """Name on the command line, in messages."""
        return self.about.flag.partition(",")[0] or "--" + self.field.name.replace("_", "-")


def own_options(analysis: type[Analysis[Any]]) -> list[OwnOption]:
    """Return the options that only this analysis has."""
    hints = get_type_hints(analysis.Options, include_extras=True)
    found = []
    for f in fields(analysis.Options):
        hint, *extras = (
            get_args(hints[f.name]) if get_origin(hints[f.name]) is Annotated else (hints[f.name],)
        )
        about = next((e for e in extras if isinstance(e, Option)), Option(f.name))
        found.append(OwnOption(f, hint, about))
    return found

"""The interface of an engine, and checks of arrays that engines share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.directory import AnyNetwork, Model
from l1scout.model.network import Network
from l1scout.model.onnx_function import OnnxFunction

INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine besides its model.

    Parameters
    ----------
    settings : str
        What follows the name and a colon, as in ``fixed:Q4.12``.
    threads : int
        Processor threads that one call may use.
    table : Path, optional
        File of the table engine; by default in the model directory.
    """

    settings: str = ""
    threads: int = 1
    table: Path | None = None


class Engine(ABC):
    """Evaluate the network of a model; used by one thread at a time, as some engines keep working memory.

    An engine is a subclass, registered by name in `l1scout.deploy.engines.ENGINES`. One without settings
    defines ``__init__`` and `correct` only.
    """

    networks: ClassVar[tuple[type[AnyNetwork], ...]] = (Network, OnnxFunction)
    """Kinds of networks that it evaluates; `refusal` says which of them it cannot."""
    settings: ClassVar[str] = ""
    """Describes the settings that may follow its name and a colon; empty if there are none."""
    reference: ClassVar[bool] = False
    """Whether it defines the answers of its kinds of networks: the engine used unless another is named."""

    unasked: ClassVar[bool] = False
    """Whether `l1scout verify` and `l1scout bench` use it without being told to."""

    def __init__(self, model: Model) -> None:  # noqa: B027
        """Make the engine; other arguments come from `create`."""

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "Engine":  # noqa: ARG003
        """Make an engine of a model that `networks` and `refusal` allow.

        Raises
        ------
        InputError
            If settings are not valid, or a library, device or file that it needs is missing.
        """
        return cls(model)

    @classmethod
    def refusal(cls, model: Model) -> str:  # noqa: ARG003
        """Explain why it cannot evaluate a model of one of its `networks`; empty if it can."""
        return ""

    @classmethod
    def available(cls, model: Model, options: EngineOptions) -> bool:  # noqa: ARG003
        """Whether it has what it needs besides the model; if not, it is not used unasked."""
        return True

    @abstractmethod
    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections (L1 minus offline), shape (3, muons): rad, 1, GeV.

        Parameters
        ----------
        hardware : ndarray of int, shape (inputs, muons)
            The card's inputs in their order, one column of hardware values each; int16 is fastest.
            The caller keeps to the card's domain. Outside it the corrections mean nothing; the
            table gives NaN.
        out : ndarray of float32, shape (3, muons), optional
            Where the corrections are written, so that no memory is allocated.
        """

    def bind(self, hardware: NDArray[np.int16], out: NDArray[np.float32]) -> Callable[[], object]:
        """Return a function that corrects what is in `hardware` whenever it is called, and fills `out`.

        For one muon or one crossing at a time: the arrays are checked here, and not in each call. Arrays
        that are C-contiguous are fastest.

        Parameters
        ----------
        hardware, out : ndarray
            As `correct` takes them.
        """
        self.correct(hardware, out)
        return partial(self.correct, hardware, out)


def int16_columns(hardware: NDArray[Any]) -> NDArray[np.int16]:
    """Return hardware columns as int16; values that do not fit become its smallest or largest value.

    These are outside every domain.

    Raises
    ------
    InputError
        If they are not integers.
    """
    if hardware.dtype == np.int16:
        return hardware
    if hardware.dtype.kind not in "iu":
        msg = f"hardware values are integers, not {hardware.dtype}"
        raise InputError(msg)
    ends = np.iinfo(np.int16)
    if np.can_cast(hardware.dtype, np.int16):
        return hardware.astype(np.int16)
    low = max(ends.min, np.iinfo(hardware.dtype).min)
    return np.asarray(np.clip(hardware, low, ends.max), np.int16)


def kernel_ready(hardware: NDArray[Any], out: NDArray[Any]) -> bool:
    """Whether a kernel may be called as it is: `check_arrays` takes as long as a look-up in the table."""
    right = hardware.dtype is INT16 and out.dtype is FLOAT32 and hardware.ndim == out.ndim == 2
    return right and out.flags.writeable


def bindable(hardware: NDArray[Any], out: NDArray[Any]) -> bool:
    """Whether a kernel of C-contiguous arrays may be called as it is, as by `l1scout.jit.bound`."""
    right = hardware.dtype is INT16 and out.dtype is FLOAT32 and hardware.ndim == out.ndim == 2
    return right and hardware.flags.c_contiguous and out.flags.carray  # writeable, too


def check_arrays(
    hardware: NDArray[Any], inputs: int, outputs: int, out: NDArray[np.float32] | None
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return int16 columns, and the array for their corrections.

    Raises
    ------
    InputError
        If an array has another shape or type than `Engine.correct` says.
    """
    if hardware.dtype is not INT16:  # comparing would take as long as a network does for one muon
        hardware = int16_columns(hardware)
    shape = hardware.shape
    if len(shape) != 2 or shape[0] != inputs:
        msg = f"hardware has shape {shape}, not ({inputs}, muons): one row per input"
        raise InputError(msg)
    wanted = (outputs, shape[1])
    if out is None:
        return hardware, np.empty(wanted, np.float32)
    if out.shape != wanted or (out.dtype is not FLOAT32 and out.dtype != FLOAT32):
        msg = f"out is {out.dtype} {out.shape}, not float32 {wanted}"
        raise InputError(msg)
    if not out.flags.writeable:
        msg = "out is not writeable"
        raise InputError(msg)
    return hardware, out

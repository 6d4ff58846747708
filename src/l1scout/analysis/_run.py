"""Pass data to an analysis, and find the filling scheme that it needs on the way."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from l1scout.analysis._analysis import Analysis, Needs
from l1scout.core.flow import through

if TYPE_CHECKING:
    from l1scout.analysis.common.scheme_watch import SchemeWatch
    from l1scout.analysis.common.schemes import Scheme
    from l1scout.core.orbit_data import OrbitData

A = TypeVar("A", bound=Analysis[Any])


def run_analysis(
    needs: Needs,
    start: "Callable[[Scheme | None], A]",
    data: "Iterable[OrbitData]",
    scheme: "Scheme | None" = None,
    repetition: Callable[[], float] = lambda: 1.0,
) -> "tuple[A, SchemeWatch | None]":
    """Make an analysis, and pass it all data; data are held back until the filling scheme is known.

    Parameters
    ----------
    needs : Needs
        Of the analysis.
    start : callable
        Makes the analysis for a filling scheme.
    data : iterable of OrbitData
        In order of time.
    scheme : Scheme, optional
        Filling scheme, if it is known; otherwise it is sought in the data, if the analysis uses one.
    repetition : callable
        Returns how often each orbit was seen on average: those that repeat earlier ones prove nothing.

    Returns
    -------
    analysis : Analysis
    watch : SchemeWatch or None
        What was found of the scheme; None if the analysis uses none.

    Raises
    ------
    InputError
        If the data lack what it needs, are too few to find a scheme that is needed, or contradict `scheme`.
    """
    if needs.scheme == "none":
        analysis = start(None)
        for piece in data:
            analysis.add(piece)
        return analysis, None
    from l1scout.analysis.common.scheme_watch import SchemeWatch

    watch = SchemeWatch(scheme, needed=needs.scheme == "needed", repetition=repetition)
    made: A | None = None
    for piece in through(map(needs.checked, data), watch):  # before a scheme is sought in them
        made = made or start(None if needs.scheme == "found" else watch.scheme)
        made.add(piece)
    return made or start(None if needs.scheme == "found" else watch.scheme), watch

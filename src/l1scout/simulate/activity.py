"""How much the detector sees of a crossing: pile-up, and what each interaction leaves, on average.

These numbers are a toy. No public source states how many objects of each kind the trigger has in a crossing
of any year; those here give about 6 jets, 9 e/gamma objects and 300 towers in a crossing of 2018, and falling
spectra. Only the pile-up and the part of the crossings with a muon are those of the two years.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from l1scout.errors import InputError, printable


@dataclass(frozen=True)
class Activity:
    """What collisions leave in the calorimeters and the muon chambers.

    Parameters
    ----------
    pile_up : float
        Interactions in a crossing of a nominal bunch, on average.
    occupancy : float
        Part of all crossings with a muon.
    scheme : str
        Filling scheme, see `lhc.FILLING_SCHEMES`.
    towers, hadronic, electromagnetic : float
        Soft towers, clusters of hadrons and clusters in the electromagnetic calorimeter per interaction.
    single_stubs : float
        Stubs per interaction that belong to no muon of the simulation, such as those of neutrons.
    early : float
        Probability that an electromagnetic cluster beyond |eta| 2.25 is seen one BX early, as by the
        ageing calorimeter in 2016 and 2017; there is none in the years simulated here.
    clusters_early, clusters_late : float
        Probability that a cluster is seen one BX early or late, and with it jets, e/gamma objects and taus;
        there are none in the years simulated here.
    slow : float
        Slow heavy particles per orbit through the barrel (`slow_particles`); a toy, of which there are none.
    slow_beta : tuple of float
        Their lowest and highest velocity.
    """

    pile_up: float = 37.0
    occupancy: float = 0.05
    scheme: str = "2018"
    towers: float = 8.0
    hadronic: float = 0.16
    electromagnetic: float = 0.24
    single_stubs: float = 0.008
    early: float = 0.0
    clusters_early: float = 0.0
    clusters_late: float = 0.0
    slow: float = 0.0
    slow_beta: tuple[float, float] = (0.2, 0.5)

    def __post_init__(self) -> None:
        rates = (
            *(self.pile_up, self.towers, self.hadronic, self.electromagnetic),
            *(self.single_stubs, self.early, self.clusters_early, self.clusters_late, self.slow),
        )
        low, high = self.slow_beta
        shares = self.early <= 1 and self.clusters_early + self.clusters_late <= 1
        if not (all(0 <= rate < 1000 for rate in rates) and shares and 0.05 <= low <= high <= 1):
            msg = f"numbers from 0 to 1000, early and late up to 1, slow_beta 0.05 to 1: not {self}"
            raise ValueError(msg)


ACTIVITIES = {
    "2018": Activity(),
    "2024": Activity(pile_up=62.0, occupancy=0.08, scheme="2024"),
}
"""By the year they resemble: mean pile-up of 2018, and that to which the luminosity is levelled in 2024;
muons of 2024 are those of 2018 in proportion."""

PLANTED = ("early", "clusters_early", "clusters_late", "slow", "slow_beta")
"""Fields of `Activity` that are effects to be found by an analysis."""


def planted(activity: Activity, effects: Iterable[str]) -> Activity:
    """Return an activity with effects such as ``slow=2`` or ``slow_beta=0.2,0.5`` (InputError)."""
    values: dict[str, Any] = {}
    for effect in effects:
        name, _, text = effect.partition("=")
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if name not in PLANTED or len(numbers) != (2 if name == "slow_beta" else 1):
            msg = f"{printable(effect, 80)}: one of {', '.join(PLANTED)} = number expected; slow_beta=0.2,0.5"
            raise InputError(msg)
        values[name] = numbers if len(numbers) > 1 else numbers[0]
    try:
        return replace(activity, **values)
    except ValueError as error:
        raise InputError(str(error)) from error

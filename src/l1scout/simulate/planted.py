"""Conditions of a simulated run: what can be planted in it, how it is written, and an example of each.

`Running` has their values; this table documents them for ``--condition`` and `l1scout simulate conditions`.
"""

from dataclasses import dataclass, fields
from typing import Any

from l1scout.simulate.run import Running


@dataclass(frozen=True)
class Condition:
    """One condition.

    Parameters
    ----------
    name, form, unit, example, meaning : str
        `form` is the JSON that is expected; `example` is what follows ``--condition``.
    """

    name: str
    form: str
    unit: str
    example: str
    meaning: str

    @property
    def default(self) -> Any:
        """Its value where it is not given."""
        return next(f.default for f in fields(Running) if f.name == self.name)


CONDITIONS = (
    Condition("scheme", "string", "", 'scheme="2024"', "filling scheme: 2018 or 2024"),
    Condition("occupancy", "number", "fraction of all BX", "occupancy=0.1", "BX with a collision muon"),
    Condition(
        "out_of_time", "number", "fraction of muons", "out_of_time=0.01", "muons seen one BX early or late"
    ),
    Condition("cosmics", "number", "muons per orbit", "cosmics=0.5", "cosmic muons through the barrel"),
    Condition(
        "intermediate",
        "number",
        "probability",
        "intermediate=0.5",
        "that a final muon is among the intermediate ones, too",
    ),
    Condition(
        "bunches",
        "[[BX, factor], ...]",
        "relative to a nominal bunch",
        "bunches=[[81,0.5],[3500,0.02]]",
        "luminosity of single BX; one outside the scheme becomes a satellite",
    ),
    Condition(
        "steps",
        "[[orbit, factor], ...]",
        "relative to the start",
        "steps=[[50,0.5],[100,0.1]]",
        "luminosity from this orbit until the next step",
    ),
    Condition(
        "afterglow",
        "[rate, BX]",
        "relative to the bunch; BX",
        "afterglow=[0.01,30]",
        "muons after a bunch: rate in the next BX, and BX in which it falls to 1/e",
    ),
    Condition(
        "firing",
        "[[finder, early, late, doubled], ...]",
        "probabilities",
        'firing=[["BMTF",0.005,0,0]]',
        "prefiring and postfiring of a track finder, instead of out_of_time",
    ),
    Condition(
        "processors",
        "[[processor, efficiency], ...]",
        "0 to 1",
        "processors=[[15,0]]",
        "efficiency of processors (tfMuonIndex // 3: 0 to 35); 0 is a dead sector",
    ),
    Condition(
        "noise",
        "[[processor, rate], ...]",
        "muons per orbit",
        "noise=[[3,0.5]]",
        "muons of a processor at any BX",
    ),
    Condition(
        "leg_efficiency", "number", "probability", "leg_efficiency=0.9", "to see each leg of a cosmic muon"
    ),
)

"""Decisions of the Global Trigger in simulated orbits: the emulator, with a menu, on the other streams.

Without a menu, they are those of a small one of l1scout's own, `OWN_MENU`; its thresholds are made up.
Importing this module adds the stream ``gt`` to the simulations.
"""

import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.formats.streams.gt import ALGORITHM_COLUMNS
from l1scout.lhc import BX_PER_ORBIT, lumisection, orbit_and_bx
from l1scout.simulate.all_streams import of_streams
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation
from l1scout.trigger.emulator import emulate
from l1scout.trigger.menu import Menu
from l1scout.trigger.menu_xml import read_menu_xml
from l1scout.trigger.orbit_inputs import inputs_of_orbits

INPUTS = ("muon", "jet", "egamma", "tau", "etsum")
OWN_MENU = {
    2: ("L1_SingleMu7", "MU7"),
    31: ("L1_DoubleMu0", "comb{MU0, MU0}"),
    32: ("L1_Mu3_Jet30", "MU3 AND JET30"),
    100: ("L1_SingleJet60", "JET60"),
    211: ("L1_DoubleEG10", "comb{EG10, EG10}"),
    300: ("L1_ETM40", "ETM40"),
    511: ("L1_HTT100", "HTT100"),
}
"""Names and expressions by index; thresholds in GeV."""
BX_OF_MP7 = 20
"""Difference of the two counters of the crossing: made up."""


@cache
def own_menu() -> Menu:
    """Return l1scout's own small menu."""
    algorithms = "".join(
        f"<algorithm><name>{name}</name><expression>{text}</expression><index>{index}</index>"
        f"<module_id>0</module_id></algorithm>"
        for index, (name, text) in OWN_MENU.items()
    )
    text = f"<menu><name>L1Menu_l1scout_v1</name><grammar_version>0.12</grammar_version>{algorithms}</menu>"
    return read_menu_xml(text.encode(), Path("l1scout's own menu"))


def decisions(data: OrbitData, menu: Menu | None = None) -> OrbitBatch:
    """Emulate a menu on consecutive orbits; crossings without any bit are left out.

    Parameters
    ----------
    data : OrbitData
        With ``first_orbit``; algorithms on streams that it has not, and those that cannot be emulated, are 0.
    menu : Menu, optional
        `own_menu` if not given.

    Returns
    -------
    OrbitBatch
        As the stream ``gt`` has it: bits before prescales and masks, of one board. The hashes are those of
        the menu's name and of "l1scout"; counters of the crossing count from 0.
    """
    menu = menu or own_menu()
    first, n = data.main.first_orbit or 0, data.main.n_orbits or 1
    names = {algorithm.name: algorithm.index for algorithm in menu.algorithms}
    bits = emulate(menu, inputs_of_orbits(data, first, n)).bits
    words = np.zeros((len(ALGORITHM_COLUMNS), n * BX_PER_ORBIT), np.uint32)
    for name, fired in bits.items():
        words[names[name] // 32] |= fired.astype(np.uint32) << np.uint32(names[name] % 32)
    crossing = np.flatnonzero(words.any(axis=0))
    orbit, bx = orbit_and_bx(crossing)
    constant = np.ones(crossing.size, np.uint32)
    columns = {name: words[k, crossing] for k, name in enumerate(ALGORITHM_COLUMNS)}
    columns |= {
        "menuHash": constant * np.uint32(zlib.crc32(menu.name.encode())),
        "firmwareHash": constant * np.uint32(zlib.crc32(b"l1scout")),
        "bxUgt": (bx - 1).astype(np.int16),
        "bxMp7": ((bx - 1 + BX_OF_MP7) % BX_PER_ORBIT).astype(np.int16),
        "orbitUgt": orbit + first,
    }
    offsets = np.arange(crossing.size + 1)
    batch = OrbitBatch(orbit + first, bx, offsets, columns, n_orbits=n, first_orbit=first)
    return replace(batch, lumisection=lumisection(batch.orbit), simulated=data.simulated)


class SimulatedDecisions(StreamSimulation):
    """Decisions of the small menu on the simulated objects."""

    name = "gt"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return decisions."""
        return decisions(of_streams(orbits, INPUTS))


SIMULATIONS.register("gt")(SimulatedDecisions())

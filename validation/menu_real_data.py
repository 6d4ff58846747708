"""Real muons of 2018 and 2024 through their trigger menus, beside the bits that the Global Trigger recorded.

    python validation/menu_real_data.py --shared DIR

Triggered events, each on its own: algorithms that need muons of the same crossing alone. The L1Ntuple of 2018
has the bits before prescales, which must be equal; the nano file of 2024 has the bits after them: each that
is set must be emulated, too. Ten events are printed, with their muons and what fires. The exit status is 1 if
bits differ.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import uproot

from l1scout.cli.script import Parser, run_script
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.io import read_events
from l1scout.trigger.emulator import Decisions, emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.menu import Algorithm, Menu
from l1scout.trigger.trigger_inputs import StreamObjects, TriggerInputs

FILES = {
    2018: ("l1ntuple_run320040_2018_200ev.root", "L1Menu_Collisions2018_v2_1_0-d1.derived.json.gz"),
    2024: ("l1nano_run380963_2024_100ev.root", "L1Menu_Collisions2024_v1_3_0-d1.derived.json.gz"),
}
EVENTS_SHOWN = 5
"""Of each year."""


def muons_of(path: Path) -> OrbitBatch:
    """Return the muons of the triggered crossing of each event; all events stay."""
    (data,) = read_events(path)
    return data.muons.select(data.muons["bxInEvent"] == 0, drop_empty=False)


def recorded(path: Path, year: int) -> dict[str, np.ndarray]:
    """Return the recorded bits by name of the algorithm: shape (events,)."""
    with uproot.open(path) as file:
        if year == 2024:
            tree = file["Events"]
            names = [name for name in tree.keys(recursive=False) if name.startswith("L1_")]
            return {name: tree[name].array(library="np") for name in names}
        tree = file["l1uGTTree/L1uGTTree"]
        bits = tree["L1uGT/m_algoDecisionInitial"].array(library="np")
        table = np.array([np.asarray(event, np.bool_) for event in bits])
        found = {}
        for name, text in tree.aliases.items():
            index = re.search(r"\[(\d+)\]", text)
            if name.startswith("L1_") and index:
                found[name] = table[:, int(index[1])]
        return found


def of_muons_alone(algorithm: Algorithm) -> bool:
    """Return whether an algorithm looks at muons of its own crossing only."""
    legs = [leg for c in algorithm.conditions.values() for leg in c.legs]
    return not algorithm.problem and not algorithm.offsets and all(leg.kind == "MU" for leg in legs)


def decide(menu: Menu, muons: OrbitBatch) -> Decisions:
    """Emulate a menu on events as crossings."""
    rows = np.flatnonzero(muons.counts)
    offsets = np.r_[0, np.cumsum(muons.counts[rows])]
    return emulate(menu, TriggerInputs(len(muons), {"muon": StreamObjects(rows, offsets, muons.columns)}))


def compare(year: int, found: Decisions, bits: Mapping[str, np.ndarray]) -> bool:
    """Print the comparison of all algorithms; whether it is as it must be."""
    names = [name for name in found.words if name in bits]
    got = np.stack([found.bits[name] for name in names])
    wanted = np.stack([bits[name] for name in names]).astype(np.bool_)
    missing, more = int((wanted & ~got).sum()), int((got & ~wanted).sum())
    both, recorded_ = int((got & wanted).sum()), int(wanted.sum())
    print(f"{year}: {len(names)} algorithms of muons in {got.shape[1]} events: {recorded_} bits recorded,")
    print(f"  {both} of them emulated, {missing} not; {more} emulated only")
    for k in np.flatnonzero((wanted & ~got).any(axis=1) | ((year == 2018) & (got ^ wanted).any(axis=1))):
        print(f"  {names[k]}: events {np.flatnonzero(got[k] ^ wanted[k]).tolist()}")
    if year == 2024:
        rows = np.flatnonzero(wanted.any(axis=1))
        alone = int((got & ~wanted)[rows].sum())
        print(f"  of the {len(rows)} that were recorded at all: {alone} emulated only")
    return not missing and (year == 2024 or not more)


def show(year: int, muons: OrbitBatch, found: Decisions) -> None:
    """Print some events: those with most muons."""
    chosen = np.sort(np.argsort(-muons.counts, kind="stable")[:EVENTS_SHOWN])
    for event in chosen.tolist():
        inside = range(int(muons.offsets[event]), int(muons.offsets[event + 1]))
        names = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwQual", "hwCharge")
        each = "; ".join(" ".join(str(int(muons[n][k])) for n in names) for k in inside)
        fired = [name for name in found.words if found.bits[name][event]]
        print(f"{year} event {event}: {each}\n    {len(fired)}: {', '.join(fired)}")


def main() -> int:
    """Compare both years; exit status 1 if bits differ."""
    parser = Parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of shared data")
    shared, good = parser.parse_args().shared, True
    for year, (data, file) in FILES.items():
        path, menu = shared / "real-cms" / data, load_menu(shared / "l1-menus" / file)
        chosen = tuple(a for a in menu.algorithms if of_muons_alone(a))
        muons = muons_of(path)
        found = decide(Menu(menu.name, menu.grammar, chosen, menu.source), muons)
        print(f"{year}: not evaluated: {dict(found.problems)}")
        good &= compare(year, found, recorded(path, year))
        show(year, muons, found)
    return 0 if good else 1


if __name__ == "__main__":
    run_script(main)

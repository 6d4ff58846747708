"""Random inputs of the Global Trigger, and random conditions of each type that about half of them fulfil."""

import numpy as np

from l1scout.formats.streams.egamma import EGAMMA
from l1scout.formats.streams.etsum import WORDS
from l1scout.formats.streams.jet import JET
from l1scout.formats.streams.muon import MUON_RUN3
from l1scout.formats.streams.tau import TAU
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.crossing_bits import pack_crossings, unpack
from l1scout.trigger.menu import Leg, LegCut, MenuCondition, PairCut
from l1scout.trigger.passing_objects import PassingObjects
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

LAYOUTS = {"muon": MUON_RUN3, "egamma": EGAMMA, "tau": TAU, "jet": JET}
CALORIMETER = ("EG", "TAU", "JET")
ETA_LIMIT = {"muon": 225, "egamma": 58, "tau": 58, "jet": 114}


def random_inputs(rng, crossings, wrap=True):
    """Crossings with few to many objects, near each other often enough for every cut to matter."""
    streams = {
        name: StreamObjects.of_slots(columns) for name, columns in random_slots(rng, crossings).items()
    }
    external = rng.random((crossings, 256)) < 0.5
    return TriggerInputs(crossings, streams, external, rng.integers(0, 1 << 16, crossings), wrap)


def random_slots(rng, crossings):
    """The columns of each stream: shape (crossings, slots)."""
    streams = {}
    for stream, layout in LAYOUTS.items():
        shape = (crossings, SLOTS[stream])
        present = rng.random(shape) < rng.uniform(0.05, 0.6, (crossings, 1))
        columns = {f.name: rng.integers(f.low, f.high + 1, shape) for f in layout.fields}
        columns["hwPt"] = rng.integers(1, 80, shape)
        names = ("hwEtaAtVtx", "hwPhiAtVtx", 576) if stream == "muon" else ("hwEta", "hwPhi", 144)
        eta = ETA_LIMIT[stream] // rng.choice([1, 4], (crossings, 1))
        columns[names[0]] = np.rint(rng.uniform(-1, 1, shape) * eta).astype(np.int64)
        columns[names[1]] = rng.integers(0, names[2], shape)
        if stream == "muon":
            columns["tfMuonIndex"] = rng.integers(0, 108, shape)
        streams[stream] = {n: np.where(present, v, 0).astype(np.int16) for n, v in columns.items()}
    fields = [f for word in WORDS for f in word.fields]
    sums = {f.name: rng.integers(0, f.high + 1, (crossings, 1)) for f in fields}
    for name in sums:
        if name.endswith("Phi"):
            sums[name] = rng.integers(0, 144, (crossings, 1))
    sums["centrality"] = rng.integers(0, 256, (crossings, 1))
    return streams | {"etsum": {n: v.astype(np.int16) for n, v in sums.items()}}


def evaluate(condition, inputs):
    """A flag per crossing: whether a condition that its type accepts is fulfilled."""
    CONDITIONS[condition.type].check(condition)
    fired = CONDITIONS[condition.type].evaluate(condition, PassingObjects(inputs))
    return unpack(pack_crossings(fired, inputs.crossings), inputs.crossings)


def as_objects(inputs, streams=None):
    """The same crossings as lists of dicts of Python integers: of some streams, by default of all."""
    lists = {
        s: {n: objects.in_slots(n, inputs.crossings, SLOTS[s]).tolist() for n in objects.columns}
        for s, objects in inputs.streams.items()
        if streams is None or s in streams
    }
    return [
        {
            s: [
                dict(zip(columns, of_slot, strict=True))
                for of_slot in zip(*(v[k] for v in columns.values()), strict=True)
            ]
            for s, columns in lists.items()
        }
        for k in range(inputs.crossings)
    ]


def random_leg(rng, kind, offsets=(0,)):
    found = KINDS[kind]
    high = 1500 if found.stream == "etsum" else 40
    cuts = []
    if found.eta and rng.random() < 0.4:
        for _ in range(rng.integers(1, 4)):
            low, up = sorted(rng.integers(-ETA_LIMIT[found.stream], ETA_LIMIT[found.stream], 2).tolist())
            cuts.append(LegCut("ETA", "", low, up))
    if found.phi and rng.random() < 0.3:
        cuts.append(LegCut("PHI", "", *rng.integers(0, found.phi_bins, 2).tolist()))
    if found.eta and rng.random() < 0.2:
        cuts.append(LegCut("SLICE", "", 0, int(rng.integers(1, found.slots))))
    masks = {
        "MU": {"QLTY": 16, "ISO": 4, "IP": 4, "CHG": 2},
        "JET": {"DISP": 2},
        "EG": {"ISO": 4},
        "TAU": {"ISO": 4},
    }
    for type_, bits in masks.get(kind, {}).items():
        if rng.random() < 0.2:
            cuts.append(LegCut(type_, "", mask=int(rng.integers(1, 1 << bits))))
    if kind == "MU":
        for type_, largest in (("INDEX", 108), ("UPT", 256)):
            if rng.random() < 0.2:
                cuts.append(LegCut(type_, "", *sorted(rng.integers(0, largest, 2).tolist())))
    threshold, equal = int(rng.integers(1, high)), rng.random() < 0.05
    return Leg(kind, kind, threshold, bool(equal), int(rng.choice(offsets)), tuple(cuts))


def pair_cut(rng, type_):
    largest = {"DETA": 4000, "DPHI": 3200, "DR": 16_000, "MASS": 60_000, "MASSUPT": 600_000, "CHGCOR": 1}
    if type_ == "CHGCOR":
        return PairCut(type_, "", *[int(rng.integers(0, 2))] * 2)
    most = largest[type_.removeprefix("ORM")]
    low = 0 if rng.random() < 0.5 else int(rng.integers(0, most // 4))
    return PairCut(type_, "", low, int(rng.integers(low, most)))


def random_condition(rng, type_):
    """A condition that its type accepts."""
    offsets = (0, 0, 0, -1, 1, 2)

    def legs(n, kind):
        wanted = [random_leg(rng, kind, offsets) for _ in range(n)]
        return [wanted[0]] * n if rng.random() < 0.3 else wanted

    any_object = str(rng.choice(["MU", *CALORIMETER]))
    other = str(rng.choice([k for k in ("MU", *CALORIMETER) if k != any_object]))
    charges = [pair_cut(rng, "CHGCOR")] * int(rng.random() < 0.4)
    distances = [pair_cut(rng, str(rng.choice(["DETA", "DPHI", "DR"])))]
    removal = [pair_cut(rng, str(rng.choice(["ORMDETA", "ORMDPHI", "ORMDR"])))]
    if type_ == "single":
        return MenuCondition(
            type_, (random_leg(rng, str(rng.choice([*CALORIMETER, "MU", "ETM", "HTT"])), offsets),)
        )
    if type_ == "mass-trv":
        sums = random_leg(rng, str(rng.choice(["ETM", "HTM", "ETMHF"])), offsets)
        mass = PairCut("MASS", "", 0, int(rng.integers(1000, 10_000_000)))
        return MenuCondition(type_, (random_leg(rng, any_object, offsets), sums), (mass,))
    if type_ == "mass-inv-upt":
        return MenuCondition(type_, tuple(legs(2, "MU")), (pair_cut(rng, "MASSUPT"), *charges))
    if type_ in ("comb", "mass-inv-3"):
        number = 3 if type_ == "mass-inv-3" else int(rng.integers(2, 5))
        cuts = [*charges] if any_object == "MU" else []
        cuts += [PairCut("MASS", "", 0, int(rng.integers(10, 300_000)))] * (type_ == "mass-inv-3")
        return MenuCondition(type_, tuple(legs(number, any_object)), tuple(cuts))
    if type_.endswith("-orm"):
        number = int(rng.integers(1, 4 if type_ == "comb-orm" else 3))
        wanted = (*legs(number, any_object), random_leg(rng, other, offsets))
        cuts = {"comb-orm": [], "dist-orm": distances, "mass-inv-orm": [pair_cut(rng, "MASS")]}[type_]
        return MenuCondition(type_, wanted, (*cuts, *removal), bool(rng.random() < 0.5) and number > 1)
    if type_ in ("dist", "mass-inv"):
        second = any_object if rng.random() < 0.6 else other
        pair = (
            legs(2, any_object)
            if second == any_object
            else [random_leg(rng, k, offsets) for k in (any_object, other)]
        )
        cuts = distances if type_ == "dist" else [pair_cut(rng, "MASS")]
        both_muons = any_object == second == "MU"
        return MenuCondition(type_, tuple(pair), (*cuts, *(charges if both_muons else [])))
    msg = f"no random condition of the type {type_}"
    raise ValueError(msg)

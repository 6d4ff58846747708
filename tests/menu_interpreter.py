"""Conditions evaluated in plain Python, object by object, from their definition: without numpy or tables.

Written apart from the emulator, from the public description of the Global Trigger, to be compared with it.
"""

import math

ETA_STEP = {True: 0.0870 / 8, False: 0.0435}
TURN = {True: 576, False: 144}
SUMS = {"ETM": "hwMissEt", "HTM": "hwMissHt", "ETMHF": "hwMissEtHF", "HTT": "hwTotalHt", "ETT": "hwTotalEt"}
STREAMS = {"MU": "muon", "EG": "egamma", "TAU": "tau", "JET": "jet"}


def half_up(value):
    return math.floor(value + 0.5)


def crossing(data, index, wrap):
    n = len(data)
    if 0 <= index < n:
        return data[index]
    return data[index % n] if wrap else None


def value(item, kind, what):
    """A value of an object: item is a dict of its columns."""
    if kind == "MU":
        return item[{"pt": "hwPt", "eta": "hwEtaAtVtx", "phi": "hwPhiAtVtx"}[what]]
    if kind in STREAMS:
        return item[{"pt": "hwPt", "eta": "hwEta", "phi": "hwPhi"}[what]]
    return item[SUMS[kind] + {"pt": "", "phi": "Phi"}[what]]


def passes_cut(item, kind, cut, slot):
    if cut.type == "SLICE":
        return cut.low <= slot <= cut.high
    if cut.type == "CHG":
        return item["hwChargeValid"] == 1 and cut.mask >> item["hwCharge"] & 1 == 1
    codes = {"QLTY": "hwQual", "ISO": "hwIso", "IP": "hwDXY", "DISP": "hwDisplaced"}
    if cut.type in codes:
        return cut.mask >> item[codes[cut.type]] & 1 == 1
    if cut.type in ("INDEX", "UPT"):
        found = item[{"INDEX": "tfMuonIndex", "UPT": "hwPtUnconstrained"}[cut.type]]
    else:
        found = value(item, kind, cut.type.lower())
    if cut.low > cut.high:
        return found >= cut.low or found <= cut.high
    return cut.low <= found <= cut.high


def candidates(data, bx, leg, wrap):
    """Objects (slot, columns) of a leg: an empty crossing has objects of zeros."""
    stream = STREAMS.get(leg.kind, "etsum")
    there = crossing(data, bx + leg.offset, wrap)
    if there is None:
        there = {s: [dict.fromkeys(o, 0) for o in objects] for s, objects in data[0].items()}
    for slot, item in enumerate(there[stream]):
        found = value(item, leg.kind, "pt")
        if not (found == leg.threshold if leg.equal else found >= leg.threshold):
            continue
        types = {cut.type for cut in leg.cuts}
        if all(any(passes_cut(item, leg.kind, c, slot) for c in leg.cuts if c.type == t) for t in types):
            yield slot, item


def differences(a, b):
    """|d eta|, |d phi| in bins and whether they are a muon's; None for eta where an object has none."""
    kind_a, kind_b = a[0], b[0]
    muon = "MU" in (kind_a, kind_b)

    def converted(kind, item, what):
        found = value(item, kind, what)
        return 4 * found + 2 if muon and kind != "MU" else found

    phi = abs(converted(*a, "phi") - converted(*b, "phi"))
    phi = min(phi, TURN[muon] - phi)
    eta = None
    if kind_a in STREAMS and kind_b in STREAMS:
        eta = abs(converted(*a, "eta") - converted(*b, "eta"))
    return eta, phi, muon


def pt(kind, item, unconstrained=False):
    if unconstrained:
        hw = item["hwPtUnconstrained"]
        return 10 * hw - 5 if hw else 0
    hw = value(item, kind, "pt")
    if kind == "MU":
        return 5 * hw - 2 if hw else 0
    return 5 * hw + 3


def half_mass(a, b, unconstrained=False, transverse=False):
    eta, phi, muon = differences(a, b)
    scale = 10_000 if muon else 1000
    cosh = scale if transverse else half_up(math.cosh(eta * ETA_STEP[muon]) * scale)
    cos = half_up(math.cos(phi * (2 * math.pi / TURN[muon])) * scale)
    return pt(*a, unconstrained) * pt(*b, unconstrained) * (cosh - cos), scale


def within(cut, found, scale=1):
    return cut.low * scale <= found <= cut.high * scale


def passes_pair(cut, a, b, transverse=False):
    type_ = cut.type.removeprefix("ORM")
    if type_ in ("MASS", "MASSUPT"):
        found, scale = half_mass(a, b, type_ == "MASSUPT", transverse)
        return within(cut, found * 10, 10**2 * scale)
    eta, phi, muon = differences(a, b)
    phi = half_up(phi * (2 * math.pi / TURN[muon]) * 1000)
    if type_ == "DPHI":
        return within(cut, phi)
    eta = half_up(eta * ETA_STEP[muon] * 1000)
    return within(cut, eta) if type_ == "DETA" else within(cut, eta**2 + phi**2, 1000)


def right_charges(cut, items):
    if any(item["hwChargeValid"] == 0 for item in items):
        return False
    return (len({item["hwCharge"] for item in items}) == 1) == (cut.low == 0)


def fulfilled(data, bx, condition, wrap=False):
    """Whether a condition is fulfilled at a crossing."""
    removal = [c for c in condition.cuts if c.type.startswith("ORM")]
    cuts = [c for c in condition.cuts if not c.type.startswith("ORM")]
    legs = list(condition.legs)
    last = legs.pop() if removal and len(legs) > 2 else None
    others = list(candidates(data, bx, last, wrap)) if last else []
    wanted = [list(candidates(data, bx, leg, wrap)) for leg in legs]
    if removal and last and not others:
        return False
    for chosen in combinations_of(wanted, legs):
        objects = [(leg.kind, item) for leg, (_, item) in zip(legs, chosen, strict=True)]
        if not passes_all(condition, cuts, objects):
            continue
        if last is None:
            if any(passes_pair(c, *objects) for c in removal):
                continue
            return True
        (cut,) = removal
        overlapping = [any(passes_pair(cut, o, (last.kind, item)) for o in objects) for _, item in others]
        if not any(overlapping) if condition.veto else not all(overlapping):
            return True
    return False


def combinations_of(wanted, legs, chosen=()):
    """All choices of an object for each leg, of which those of one list are different; one at a time."""
    if len(chosen) == len(legs):
        yield chosen
        return
    leg = legs[len(chosen)]
    taken = {slot for other, (slot, _) in zip(legs, chosen, strict=False) if same_list(leg, other)}
    for slot, item in wanted[len(chosen)]:
        if slot not in taken:
            yield from combinations_of(wanted, legs, (*chosen, (slot, item)))


def same_list(a, b):
    return (a.kind, a.offset) == (b.kind, b.offset)


def passes_all(condition, cuts, objects):
    for cut in cuts:
        if cut.type == "CHGCOR":
            if not right_charges(cut, [item for _, item in objects]):
                return False
        elif condition.type == "mass-inv-3":
            pairs = [(0, 1), (0, 2), (1, 2)]
            masses = [half_mass(objects[i], objects[j]) for i, j in pairs]
            if not within(cut, 10 * sum(m for m, _ in masses), 100 * masses[0][1]):
                return False
        elif not passes_pair(cut, *objects, transverse=condition.type == "mass-trv" and cut.type == "MASS"):
            return False
    return True


def as_signal(data, inputs, bx, condition):
    """Whether a signal is set at a crossing."""
    (leg,) = condition.legs
    place = bx + leg.offset
    if not 0 <= place < len(data):
        if not inputs.wrap:
            return False
        place %= len(data)
    if condition.type == "external":
        return bool(inputs.external[place][leg.threshold])
    if condition.type == "cicada":
        return int(inputs.cicada[place]) >= leg.threshold
    if condition.type == "centrality":
        return data[place]["etsum"][0]["centrality"] >> leg.threshold & 1 == 1
    return data[place]["muon"][leg.threshold]["shower"] == 1

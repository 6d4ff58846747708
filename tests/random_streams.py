"""Random objects of streams over the full ranges of their columns, which are written down here by hand."""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch

CALO = {"hwPt": (1, 511), "hwEta": (-128, 127), "hwPhi": (0, 255), "hwIso": (0, 3)}
SUMS = {
    **dict.fromkeys(("hwTotalEt", "hwTotalEtEm", "hwTotalHt", "hwMissEt", "hwMissHt"), (1, 4095)),
    **dict.fromkeys(("hwMissEtHF", "hwMissHtHF"), (0, 4095)),
    **dict.fromkeys(("hwMissEtPhi", "hwMissHtPhi", "hwMissEtHFPhi", "hwMissHtHFPhi"), (0, 255)),
    **dict.fromkeys(("hwAsymEt", "hwAsymHt", "hwAsymEtHF", "hwAsymHtHF", "centrality"), (0, 255)),
    **dict.fromkeys(("minBiasHFP0", "minBiasHFM0", "minBiasHFP1", "minBiasHFM1"), (0, 15)),
    "towerCount": (0, 8191),
}
STUB = {
    **{"valid": (0, 1), "hwPhi": (-2048, 2047), "hwPhiB": (-512, 511), "hwQual": (0, 7), "hwEta": (0, 127)},
    **{"hwQEta": (0, 127), "station": (1, 4), "wheel": (-4, 3), "sector": (0, 11)},
}
GT = {
    **{f"algo{32 * k:03}": (0, 2**32 - 1) for k in range(16)},
    **{"menuHash": (0, 2**32 - 1), "firmwareHash": (0, 2**32 - 1), "bxUgt": (0, 4095), "bxMp7": (0, 4095)},
    "orbitUgt": (0, 2**48 - 1),
}
TRACKER_MUON = {
    **{
        "valid": (0, 1),
        "hwPt": (1, 65535),
        "hwPhi": (-4096, 4095),
        "hwEta": (-8192, 8191),
        "hwZ0": (-512, 511),
    },
    **{"hwD0": (-512, 511), "hwCharge": (0, 1), "hwQual": (0, 255), "hwIso": (0, 15), "hwBeta": (0, 15)},
}
RANGES = {
    "jet": {
        **{n: r for n, r in CALO.items() if n != "hwIso"},
        "hwPt": (1, 2047),
        "hwDisplaced": (0, 1),
        "hwQual": (0, 3),
    },
    "egamma": CALO,
    "tau": CALO,
    "etsum": SUMS,
    "tower": {
        "hwEt": (0, 511),
        "erBits": (0, 7),
        "miscBits": (0, 15),
        "hwPhi": (1, 256),
        "hwEta": (-128, 127),
    },
    "stub": STUB,
    "gt": GT,
    "tkmuon": TRACKER_MUON,
    "anomaly": {"hwScore": (0, 2**18 - 1), "level": (0, 3), "modelId": (0, 4095)},
}
MOST = {
    "jet": 12,
    "egamma": 12,
    "tau": 12,
    "etsum": 1,
    "tower": 40,
    "stub": 20,
    "gt": 6,
    "tkmuon": 9,
    "anomaly": 8,
}
"""Objects of a crossing in these batches; towers and stubs may have more."""
FORMS = [
    *(
        ("jet", 2),
        ("jet", 22),
        ("egamma", 2),
        ("egamma", 23),
        ("tau", 2),
        ("tau", 25),
        ("etsum", 2),
        ("etsum", 24),
    ),
    *(("tower", 32), ("stub", 15), ("gt", 4), ("tkmuon", 0), ("anomaly", 48)),
]
"""Streams and source ids of their records; tracker muons have none."""


def columns_of(name, size, random):
    """Return random columns; the ends of each range are among them."""
    columns = {}
    for column, (low, high) in RANGES[name].items():
        values = random.integers(low, high + 1, size)
        ends = random.random(size)
        values = np.where(ends < 0.05, low, np.where(ends > 0.95, high, values))
        wide = np.int64 if column == "orbitUgt" else np.uint32 if name == "gt" and high > 4095 else np.int32
        columns[column] = values.astype(wide)
    return columns


def batch_of(name, crossings, random, *, orbits=3, most=None, sector=None):
    """Return objects of some crossings, in order of time."""
    time = np.sort(random.choice(orbits * 3564, crossings, replace=False))
    counts = random.integers(1, (most or MOST[name]) + 1, crossings)
    columns = columns_of(name, int(counts.sum()), random)
    if name == "stub" and sector is not None:
        columns["sector"][:] = sector
    orbit = time // 3564 + int(random.integers(0, 2**31 - orbits))
    return OrbitBatch(orbit, time % 3564 + 1, np.r_[0, np.cumsum(counts)], columns)

"""Plain numpy decodes of the streams: written from the documented bit positions, one step after the other.

They are references for the compiled decodes, in tests and in `benchmarks/streams.py`. A decode returns the
columns of the objects, with ``orbit`` and ``bx`` of each.
"""

import numpy as np

JET = {
    "hwPt": (0, 11, 0),
    "hwEta": (11, 8, 1),
    "hwPhi": (19, 8, 0),
    "hwDisplaced": (27, 1, 0),
    "hwQual": (28, 2, 0),
}
EGAMMA = {"hwPt": (0, 9, 0), "hwEta": (9, 8, 1), "hwPhi": (17, 8, 0), "hwIso": (25, 2, 0)}
TOWER = {
    "hwEt": (0, 9, 0),
    "erBits": (9, 3, 0),
    "miscBits": (12, 4, 0),
    "hwPhi": (16, 8, 0),
    "hwEta": (24, 8, 1),
}
STUB = {
    **{
        "valid": (0, 1, 0),
        "hwPhi": (1, 12, 1),
        "hwPhiB": (13, 10, 1),
        "hwQual": (23, 3, 0),
        "hwEta": (26, 7, 0),
    },
    **{"hwQEta": (33, 7, 0), "station": (40, 2, 0), "wheel": (42, 3, 1)},
}
SUMS = [
    {"hwTotalEt": (0, 12), "hwTotalEtEm": (12, 12), "minBiasHFP0": (28, 4)},
    {"hwTotalHt": (0, 12), "towerCount": (12, 13), "minBiasHFM0": (28, 4)},
    {"hwMissEt": (0, 12), "hwMissEtPhi": (12, 8), "hwAsymEt": (20, 8), "minBiasHFP1": (28, 4)},
    {"hwMissHt": (0, 12), "hwMissHtPhi": (12, 8), "hwAsymHt": (20, 8), "minBiasHFM1": (28, 4)},
    {"hwMissEtHF": (0, 12), "hwMissEtHFPhi": (12, 8), "hwAsymEtHF": (20, 8), "centrality": (28, 4)},
    {"hwMissHtHF": (0, 12), "hwMissHtHFPhi": (12, 8), "hwAsymHtHF": (20, 8), "high": (28, 4)},
]
"""Start, width and, where there are any, whether the value has a sign."""
LINKS = {"jet": (11, 4), "egamma": (25, 18), "tau": (53, 46)}
WORDS = {"jet": JET, "egamma": EGAMMA, "tau": EGAMMA}
BX_PER_ORBIT = 3564


def cut(words, fields):
    """Cut words into int16 columns."""
    columns = {}
    for name, (start, width, signed) in fields.items():
        value = (words >> words.dtype.type(start)) & words.dtype.type((1 << width) - 1)
        value = value.astype(np.int16)
        columns[name] = (
            np.where(value >> (width - 1), value - (1 << width), value).astype(np.int16) if signed else value
        )
    return columns


def decode_dma(words):
    """Decode whole records of the calorimeter's DMA: columns of jets, e/gamma, taus and sums."""
    records = words.reshape(-1, 59)
    bx, orbit = records[:, 1], records[:, 2] & 0x7FFFFFFF
    found = {}
    for name, (first, second) in LINKS.items():
        objects = np.concatenate([records[:, first : first + 6], records[:, second : second + 6]], axis=1)
        row, place = np.nonzero(objects & ((1 << WORDS[name]["hwPt"][1]) - 1))
        found[name] = cut(objects[row, place], WORDS[name]) | {"orbit": orbit[row], "bx": bx[row]}
    sums = records[:, 39:45]
    row = np.flatnonzero(sums.any(axis=1))
    found["etsum"] = {"orbit": orbit[row], "bx": bx[row]}
    for k, fields in enumerate(SUMS):
        found["etsum"] |= cut(sums[row, k], {n: (*bits, 0) for n, bits in fields.items()})
    found["etsum"]["centrality"] += 16 * found["etsum"].pop("high")
    return found


def counted_records(words, size, mask, most):
    """Return where counted records begin, up to one that makes no sense, and how many objects they have."""
    starts, counts, at = [], [], 0
    while at + 3 <= words.size:
        count = int(words[at]) & mask
        end = at + 3 + size * count
        if count > most or end > words.size or words[at + 1] > BX_PER_ORBIT:
            break
        if words[at + 1] == 0 and not words[at + 3 : end].any():
            break
        starts.append(at)
        counts.append(count)
        at = end
    return np.array(starts, np.int64), np.array(counts, np.int64), at


def decode_counted(words, fields, mask=0xFF, most=12, present=0):
    """Decode records of objects of one word (jets, e/gamma, taus over TCP; towers)."""
    starts, counts, end = counted_records(words, 1, mask, most)
    record = np.repeat(np.arange(starts.size), counts)
    objects = words[np.repeat(starts + 3 - np.cumsum(counts) + counts, counts) + np.arange(record.size)]
    if present:
        record, objects = record[objects & present != 0], objects[objects & present != 0]
    at = starts[record]
    return cut(objects, fields) | {"orbit": words[at + 2] & 0x7FFFFFFF, "bx": words[at + 1]}, end


def decode_stubs(words, sector):
    """Decode the records of a sector's stubs."""
    starts, counts, end = counted_records(words, 2, 0xFF, 255)
    record = np.repeat(np.arange(starts.size), counts)
    at = np.repeat(starts + 3 - 2 * (np.cumsum(counts) - counts), counts) + 2 * np.arange(record.size)
    stubs = words[at].astype(np.uint64) | words[at + 1].astype(np.uint64) << np.uint64(32)
    columns = cut(stubs, STUB)
    chamber = record * 32 + ((stubs >> np.uint64(40)) & np.uint64(31)).astype(np.int64)
    tag = np.zeros(record.size, np.int16)
    tag[np.unique(chamber, return_index=True)[1]] = 1
    columns |= {
        "station": columns["station"] + 1,
        "sector": np.full(record.size, sector, np.int16),
        "tag": tag,
    }
    at = starts[record]
    return columns | {"orbit": words[at + 2] & 0x7FFFFFFF, "bx": words[at + 1]}, end


def in_order(columns):
    """Sort objects by time, those of a crossing as they are."""
    order = np.argsort(columns["orbit"].astype(np.int64) * (BX_PER_ORBIT + 1) + columns["bx"], kind="stable")
    return {name: values[order] for name, values in columns.items()}

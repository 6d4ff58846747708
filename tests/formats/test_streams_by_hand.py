"""Streams from words packed by hand: literal numbers in which all fields differ.

The words were made from the published bit positions with shifts of their own, not with the tables of
`l1scout.formats`, so that an error in a table cannot hide in encoder and decoder alike.
"""

import math

import numpy as np
import pytest

from l1scout.formats.calo_objects import cmssw_phi
from l1scout.formats.events64 import EVENT_HEADER
from l1scout.formats.stream import STREAMS, encode_source
from l1scout.formats.streams import gt
from l1scout.formats.streams.anomaly import ANOMALIES, SCORE
from l1scout.formats.streams.egamma import EGAMMA, EGAMMAS
from l1scout.formats.streams.etsum import ET_SUMS, WORDS
from l1scout.formats.streams.gt import COUNTERS, GLOBAL_TRIGGER, HEADER
from l1scout.formats.streams.jet import JET, JETS
from l1scout.formats.streams.stub import STUB, STUBS
from l1scout.formats.streams.tau import TAU, TAUS
from l1scout.formats.streams.tkmuon import HIGH, LOW, TRACKER_MUONS
from l1scout.formats.streams.tower import TOWER, TOWERS

JET_ONE = 2 << 28 | 1 << 27 | 131 << 19 | (256 - 47) << 11 | 1365
EGAMMA_ONE, EGAMMA_TWO = 2 << 25 | 77 << 17 | (256 - 33) << 9 | 301, 1 << 25 | 143 << 17 | 101 << 9 | 511
TAU_ONE = 3 << 25 | 12 << 17 | (256 - 128) << 9 | 7
SUMS = (
    9 << 28 | 3001 << 12 | 2047,
    5 << 28 | 7003 << 12 | 1234,
    3 << 28 | 201 << 20 | 141 << 12 | 55,
    12 << 28 | 99 << 20 | 17 << 12 | 4001,
    10 << 28 | 254 << 20 | 100 << 12 | 777,
    6 << 28 | 33 << 20 | 3 << 12 | 1500,
)
SUM_VALUES = {
    **{"hwTotalEt": 2047, "hwTotalEtEm": 3001, "minBiasHFP0": 9},
    **{"hwTotalHt": 1234, "towerCount": 7003, "minBiasHFM0": 5},
    **{"hwMissEt": 55, "hwMissEtPhi": 141, "hwAsymEt": 201, "minBiasHFP1": 3},
    **{"hwMissHt": 4001, "hwMissHtPhi": 17, "hwAsymHt": 99, "minBiasHFM1": 12},
    **{"hwMissEtHF": 777, "hwMissEtHFPhi": 100, "hwAsymEtHF": 254},
    **{"hwMissHtHF": 1500, "hwMissHtHFPhi": 3, "hwAsymHtHF": 33},
    "centrality": 6 << 4 | 10,
}
TOWER_ONE = (256 - 28) << 24 | 71 << 16 | 0b1010 << 12 | 5 << 9 | 401
STUB_ONE = (
    3001 << 48 | 5 << 45 | (8 - 2) << 42 | 2 << 40 | 0x55 << 33 | 0x2B << 26 | 6 << 23 | (1024 - 301) << 13
    | (4096 - 1501) << 1 | 1
)  # fmt: skip
MUON_LOW = (1024 - 307) << 54 | 255 << 44 | (16384 - 2001) << 30 | 3003 << 17 | 40001 << 1 | 1
MUON_HIGH = 11 << 13 | 6 << 9 | 201 << 1 | 1
SCORE_ONE = 2748 << 20 | 1 << 18 | 197_121
PLACES = {"jet2": 4, "jet1": 11, "egamma2": 18, "egamma1": 25, "sum": 39, "tau2": 46, "tau1": 53}
"""Words of a record of the DMA, after CMSSW's dmaBlock: 3 of header, then 8 times one of the link and 6."""

WORD_CASES = [
    (JET, JET_ONE, {"hwPt": 1365, "hwEta": -47, "hwPhi": 131, "hwDisplaced": 1, "hwQual": 2}),
    (EGAMMA, EGAMMA_ONE, {"hwPt": 301, "hwEta": -33, "hwPhi": 77, "hwIso": 2}),
    (TAU, TAU_ONE, {"hwPt": 7, "hwEta": -128, "hwPhi": 12, "hwIso": 3}),
    (TOWER, TOWER_ONE, {"hwEt": 401, "erBits": 5, "miscBits": 10, "hwPhi": 71, "hwEta": -28}),
    (
        STUB,
        STUB_ONE,
        {
            **{"valid": 1, "hwPhi": -1501, "hwPhiB": -301, "hwQual": 6, "hwEta": 0x2B, "hwQEta": 0x55},
            **{"station": 2, "wheel": -2, "reserved": 5, "bx": 3001},
        },
    ),
    (
        LOW,
        MUON_LOW,
        {"valid": 1, "hwPt": 40001, "hwPhi": 3003, "hwEta": -2001, "hwZ0": 255, "hwD0": -307},
    ),
    (HIGH, MUON_HIGH | 9 << 17, {"hwCharge": 1, "hwQual": 201, "hwIso": 6, "hwBeta": 11, "spare": 9}),
    (SCORE, SCORE_ONE, {"hwScore": 197_121, "level": 1, "modelId": 2748}),
    (HEADER, 0x00000105, {"boards": 5, "version": 1}),
    (COUNTERS, 3002 << 12 | 1701, {"bxUgt": 1701, "bxMp7": 3002}),
    *(
        (word, SUMS[k], {f.name: SUM_VALUES[f.name] for f in word.fields if f.name in SUM_VALUES} | more)
        for k, (word, more) in enumerate(
            zip(WORDS, ({}, {}, {}, {}, {"centralityLow": 10}, {"centralityHigh": 6}), strict=True)
        )
    ),
]


@pytest.mark.parametrize(("layout", "word", "fields"), WORD_CASES, ids=lambda x: getattr(x, "name", None))
def test_word(layout, word, fields):
    decoded = layout.decode(np.array([word], layout.word))
    assert {name: int(column[0]) for name, column in decoded.items()} == fields
    assert int(layout.encode({name: [value] for name, value in fields.items()})[0]) == word
    assert len(set(fields.values())) == len(fields) or layout in (STUB, LOW, EGAMMA, HIGH)


def decode(stream, words, source, *, size=None):
    """Decode one payload; all of it must make sense, or `size` words."""
    words = np.array(words, np.uint32)
    decoded, ends = stream.decode(words, np.array([0, words.size]), np.array([source]))
    assert ends.tolist() == [words.size if size is None else size]
    return decoded.objects


def rows(objects, *names):
    return list(zip(*(objects[name].tolist() for name in names), strict=True))


def dma_record():
    """A record with every kind of object, in places counted by hand; links have words of their own."""
    words = [0xFFFFFFFF, 3001, 0x92345678] + [0] * 56
    for link in range(8):
        words[3 + 7 * link] = 0xFFFFFFFF
    words[PLACES["jet1"]], words[PLACES["jet2"] + 5] = JET_ONE, 9
    words[PLACES["egamma1"] + 1], words[PLACES["egamma2"]] = EGAMMA_ONE, EGAMMA_TWO
    words[PLACES["tau1"] + 5] = TAU_ONE
    words[PLACES["sum"] : PLACES["sum"] + 6] = SUMS
    words[32:38] = [0xFFFFFFFF] * 5 + [0]  # the link "empty", but for its last word
    return words


def test_all_objects_of_a_record_of_the_dma():
    found = {s.name: decode(s, dma_record(), 2) for s in (JETS, EGAMMAS, TAUS, ET_SUMS)}
    for objects in found.values():
        assert (objects.orbit.tolist(), objects.bx.tolist()) == ([0x12345678], [3001])
    names = ("hwPt", "hwEta", "hwPhi", "hwIso")
    assert rows(found["jet"], "hwPt", "hwEta", "hwPhi", "hwDisplaced", "hwQual") == [
        (1365, -47, 131, 1, 2),
        (9, 0, 0, 0, 0),
    ]
    assert rows(found["egamma"], *names) == [(301, -33, 77, 2), (511, 101, 143, 1)]
    assert rows(found["tau"], *names) == [(7, -128, 12, 3)]
    assert {n: c.tolist() for n, c in found["etsum"].columns.items()} == {
        n: [v] for n, v in SUM_VALUES.items()
    }


def test_streams_of_the_dma_are_written_into_one_record():
    batches = {s.name: decode(s, dma_record(), 2) for s in (JETS, EGAMMAS, TAUS, ET_SUMS)}
    words, crossings, starts = encode_source(batches, 2)
    wanted = dma_record()
    wanted[0] = 0  # words of the record's header and of the links are not known
    for at in (*range(3, 59, 7), *range(31, 38)):
        wanted[at] = 0
    wanted[2] &= 0x7FFFFFFF
    # the order of objects is kept, but not the empty places between them
    wanted[PLACES["jet2"] + 5], wanted[PLACES["jet1"] + 1] = 0, 9
    wanted[PLACES["egamma1"] : PLACES["egamma1"] + 2] = EGAMMA_ONE, EGAMMA_TWO
    wanted[PLACES["egamma2"]] = 0
    wanted[PLACES["tau1"] + 5], wanted[PLACES["tau1"]] = 0, TAU_ONE
    assert words.tolist() == wanted
    assert (crossings.bx.tolist(), starts.tolist()) == ([3001], [0, 59])


@pytest.mark.parametrize(
    ("stream", "source", "word", "values"),
    [
        (JETS, 22, JET_ONE, (1365, -47, 131)),
        (EGAMMAS, 23, EGAMMA_ONE, (301, -33, 77)),
        (TAUS, 25, TAU_ONE, (7, -128, 12)),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_objects_over_tcp(stream, source, word, values):
    """Only the low byte of the header counts; a word without Et is not an object."""
    objects = decode(stream, [0xABCDEF02, 3001, 0x92345678, word, 0xFFFFF800, 0, 7, 5], source)
    assert (objects.orbit.tolist(), objects.bx.tolist()) == ([0x12345678], [3001])
    assert rows(objects, "hwPt", "hwEta", "hwPhi") == [values]
    assert stream.encode(objects)[0].tolist() == [1, 3001, 0x12345678, word]


def test_sums_over_tcp_have_no_header():
    objects = decode(ET_SUMS, [3001, 0x92345678, *SUMS, 7, 5, *[0] * 6], 24)
    assert (objects.orbit.tolist(), objects.bx.tolist()) == ([0x12345678], [3001])
    assert {n: c.tolist() for n, c in objects.columns.items()} == {n: [v] for n, v in SUM_VALUES.items()}
    assert ET_SUMS.encode(objects)[0].tolist() == [3001, 0x12345678, *SUMS]
    assert ET_SUMS.orbit_word(24) == 1


def test_towers():
    """The whole first word is the number of towers; phi is counted from 1 in the column."""
    towers = decode(TOWERS, [2, 3001, 0x92345678, TOWER_ONE, 41 << 24, 0, 7, 5], 32)
    assert (towers.orbit.tolist(), towers.bx.tolist(), towers.counts.tolist()) == ([0x12345678], [3001], [2])
    assert rows(towers, "hwEt", "erBits", "miscBits", "hwPhi", "hwEta") == [
        (401, 5, 10, 72, -28),
        (0, 0, 0, 1, 41),
    ]
    words, _ = TOWERS.encode(towers)
    assert words.tolist() == [2, 3001, 0x12345678, TOWER_ONE, 41 << 24]
    decode(TOWERS, [0x100 | 1, 3001, 5, TOWER_ONE], 32, size=0)  # 257 towers are announced


def test_towers_lie_where_cms_has_them():
    columns = {
        "hwEta": np.array([1, -20, 21, 28, 29, 0, 30, -41, 42]),
        "hwPhi": np.array([1, 36, 37, 72] + 5 * [1]),
    }
    found = TOWERS.physics({n: c.astype(np.int16) for n, c in columns.items()})
    nan = math.nan
    wanted = [0.0435, -1.6965, 1.785, 2.825, nan, nan, 2.996, -5.04, nan]
    np.testing.assert_allclose(found["eta"], wanted, rtol=1e-6)
    step = math.pi / 72
    np.testing.assert_allclose(found["phi"][:4], [step, 71 * step, -71 * step, -step], rtol=1e-5)


def halves(*stubs):
    return [half for stub in stubs for half in (stub & 0xFFFFFFFF, stub >> 32)]


def test_stubs_of_two_sectors():
    """In a crossing, stubs come in the order of the sources; the second one of a chamber has no tag."""
    other = STUB_ONE & ~(3 << 40)
    one = [0xABCDEF03, 3001, 0x92345678, *halves(STUB_ONE, other, STUB_ONE), 1, 3003, 7, *halves(other)]
    two = [2, 3001, 0x12345678, *halves(other, 0)]
    words = np.array([*one, *two], np.uint32)
    decoded, ends = STUBS.decode(words, np.array([0, len(one), words.size]), np.array([10, 21]))
    stubs = decoded.objects
    assert ends.tolist() == [len(one), words.size]
    assert (stubs.orbit.tolist(), stubs.bx.tolist()) == ([7, 0x12345678], [3003, 3001])
    assert stubs.counts.tolist() == [1, 5]
    assert rows(stubs, "hwPhi", "hwPhiB", "hwQual", "hwEta", "hwQEta", "station", "wheel", "valid")[:2] == [
        (-1501, -301, 6, 0x2B, 0x55, 1, -2, 1),
        (-1501, -301, 6, 0x2B, 0x55, 3, -2, 1),
    ]
    assert stubs["sector"].tolist() == [0, 0, 0, 0, 11, 11]
    assert stubs["tag"].tolist() == [1, 1, 1, 0, 1, 1]
    assert STUBS.sources(stubs) == (10, 21)
    with pytest.raises(ValueError, match="name the source id"):
        STUBS.encode(stubs)
    written, starts = STUBS.encode(stubs, 21)
    clean = other & ~(7 << 45)  # reserved bits are not kept; the BX is that of the record
    assert written.tolist() == [2, 3001, 0x12345678, *halves(clean, 3001 << 48)]
    assert starts.tolist() == [0, 0, 7]


def test_stubs_lie_in_their_sector():
    found = STUBS.physics({"hwPhi": np.array([-1024, 0], np.int16), "sector": np.array([0, 6], np.int16)})
    np.testing.assert_allclose(found["phi"], [-0.25, -math.pi], rtol=1e-6)


ALGORITHMS = [0x80000001, *range(0x101, 0x110)]
HASHES = (0xCAFEF00D, 0x8BADF00D)
LINKS = [
    ALGORITHMS[:6],
    ALGORITHMS[6:12],
    [*ALGORITHMS[12:], *HASHES],
    [1701, 3002, 1701, 0xBEEF, 0xDEADBEEF, 0],
]
GT_RECORD = [0x101, 3001, 0x92345678, *ALGORITHMS, *HASHES, 3002 << 12 | 1701, 0xBEEF, 0xDEADBEEF]


def check_gt(objects):
    assert [int(objects[f"algo{32 * k:03}"][0]) for k in range(16)] == ALGORITHMS
    assert (int(objects["menuHash"][0]), int(objects["firmwareHash"][0])) == HASHES
    assert (int(objects["bxUgt"][0]), int(objects["bxMp7"][0])) == (1701, 3002)
    assert int(objects["orbitUgt"][0]) == 0xBEEFDEADBEEF
    assert [a for a in range(64) if gt.fired(objects.columns, a)[0]] == [0, 31, 32, 40]


def test_record_of_the_global_trigger():
    objects = decode(GLOBAL_TRIGGER, [*GT_RECORD, 0x201, 3002, 5, *[0] * 21], 4, size=24)
    assert (objects.orbit.tolist(), objects.bx.tolist()) == ([0x12345678], [3001])
    check_gt(objects)
    wanted = [*GT_RECORD[:2], 0x12345678, *GT_RECORD[3:]]
    assert GLOBAL_TRIGGER.encode(objects)[0].tolist() == wanted


def test_links_of_the_global_trigger():
    """Six words per crossing on each of the links 28 to 31, in the order of the uGT's firmware."""
    payload = np.zeros((4, 6 * 3564 + 9), np.uint32)
    for link in range(4):
        payload[link, 6 * 3000 : 6 * 3001] = LINKS[link]
    payload[0, 6 * 17 + 2] = 1 << 3  # algorithm 67 in BX 18
    objects = gt.from_links(payload, 77)
    assert (objects.orbit.tolist(), objects.bx.tolist(), objects.n_orbits) == ([77, 77], [18, 3001], 1)
    assert gt.fired(objects.columns, 67).tolist() == [True, False]
    np.testing.assert_array_equal(gt.to_links(objects), payload[:, :-9])
    one = gt.from_links(payload, 77, ignored=[67])
    assert one.bx.tolist() == [3001]
    check_gt(one)


def test_boards_of_the_global_trigger_are_combined():
    words = [0x102, 9, 5, *GT_RECORD[3:], *[2] * 21]
    both = decode(GLOBAL_TRIGGER, words, 4)
    assert both.counts.tolist() == [2]
    one = gt.combine_boards(both)
    assert (one.counts.tolist(), int(one["algo000"][0]), int(one["menuHash"][0])) == (
        [1],
        0x80000003,
        HASHES[0],
    )
    with pytest.raises(ValueError, match="one board"):
        gt.to_links(both)


def test_tracker_muons():
    """Two muons share three words: the odd one's last bits are in the high half of the second word."""
    other = MUON_LOW ^ 1 << 54
    odd = MUON_HIGH ^ 7 << 13
    words = [MUON_LOW, odd << 32 | MUON_HIGH, other, MUON_LOW, MUON_HIGH]
    header = 2 << 62 | 0x12345678 << 24 | 3000 << 12 | len(words)
    raw = np.array([header, *words], np.uint64).view(np.uint32)
    muons = decode(TRACKER_MUONS, raw, 0)
    assert (muons.orbit.tolist(), muons.bx.tolist(), muons.counts.tolist()) == ([0x12345678], [3001], [3])
    assert rows(muons, "hwPt", "hwPhi", "hwEta", "hwZ0", "hwD0", "hwCharge", "hwQual", "hwIso", "hwBeta") == [
        (40001, 3003, -2001, 255, -307, 1, 201, 6, 11),
        (40001, 3003, -2001, 255, -308, 1, 201, 6, 12),
        (40001, 3003, -2001, 255, -307, 1, 201, 6, 11),
    ]
    np.testing.assert_array_equal(TRACKER_MUONS.encode(muons)[0], raw)
    assert int(EVENT_HEADER.decode(np.array([header], np.uint64))["count"][0]) == 5


def test_scales():
    jets = JETS.physics(
        {"hwPt": np.array([0, 1]), "hwPhi": np.array([36, 143]), "hwEta": np.array([-128, 1])}
    )
    assert math.isnan(jets["pt"][0])
    assert (jets["pt"][1], jets["mass"].tolist()) == (0.5, [0, 0])
    np.testing.assert_allclose(jets["phi"], [math.pi / 2, -2 * math.pi / 144], rtol=1e-6)
    np.testing.assert_allclose(jets["eta"], [-128 * 0.0435, 0.0435], rtol=1e-6)
    sums = ET_SUMS.physics({"hwMissEt": np.array([0, 3]), "hwMissEtPhi": np.array([36, 36])})
    assert sums["missEt"].tolist() == [0, 1.5]
    assert math.isnan(sums["missEtPhi"][0])
    assert sums["missEtPhi"][1] == pytest.approx(math.pi / 2)
    muons = TRACKER_MUONS.physics(
        {"hwPt": np.array([64]), "hwCharge": np.array([1]), "hwPhi": np.array([2048])}
    )
    assert (muons["pt"][0], muons["charge"][0]) == (2, -1)
    assert muons["phi"][0] == pytest.approx(math.pi / 2)


def test_cmssw_has_another_phi():
    """CMSSW's scale is 0.0435 per value; from pi on it subtracts a full turn."""
    np.testing.assert_allclose(
        cmssw_phi([0, 72, 73, 143]), [0, 3.132, 3.1755 - 2 * math.pi, 6.2205 - 2 * math.pi], rtol=1e-5
    )


def test_every_stream_states_its_columns():
    for name, stream in STREAMS.items():
        batch = stream.empty()
        assert (len(batch), batch.n_objects) == (0, 0)
        assert batch.columns, name
        assert set(stream.physics(batch.columns)).isdisjoint(batch.columns)


def test_scores_of_a_crossing():
    words = [2, 3001, 0x12345678, SCORE_ONE, 0x123 << 20 | 5, 1, 3002, 0x12345678, 7]
    scores = decode(ANOMALIES, words, 48)
    assert rows(scores, "hwScore", "level", "modelId") == [(197_121, 1, 2748), (5, 0, 0x123), (7, 0, 0)]
    assert (scores.bx.tolist(), scores.orbit.tolist()) == ([3001, 3002], [0x12345678] * 2)
    assert ANOMALIES.encode(scores)[0].tolist() == words
    assert ANOMALIES.physics({"hwScore": np.array([40])})["score"].tolist() == [2.5]
    nine = [9, 3001, 1, *range(9)]  # more scores than a record can hold are damage
    assert decode(ANOMALIES, nine, 48, size=0).n_objects == 0

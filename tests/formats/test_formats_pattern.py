"""MP7 pattern files: exact round trip, and one line for each way to be wrong."""

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.formats import pattern


def small(frames: int = 13, links: int = 8) -> pattern.Pattern:
    rng = np.random.default_rng(3)
    return pattern.Pattern(
        "ugmt_b40",
        tuple(f"q{k // 4:02d}c{k % 4}" for k in range(links)),
        tuple(range(links)),
        rng.integers(0, 2, (frames, links)).astype(bool),
        rng.integers(0, 1 << 32, (frames, links)).astype(np.uint32),
    )


def test_parse_gives_back_what_was_rendered():
    before = small()
    after = pattern.parse(pattern.render(before))
    assert (after.board, after.channels, after.links) == (before.board, before.channels, before.links)
    np.testing.assert_array_equal(after.valid, before.valid)
    np.testing.assert_array_equal(after.data, before.data)
    assert after.data.dtype == np.uint32


def test_rendered_text_has_the_layout_of_the_mp7_tools():
    one = small(frames=1, links=2)
    lines = pattern.render(one).split("\n")
    assert lines[:3] == [
        "Board ugmt_b40",
        " Quad/Chan :    q00c0      q00c1",
        "      Link :     00         01",
    ]
    assert lines[3].startswith("Frame 0000 : ")
    assert lines[4:] == [""]


@pytest.mark.parametrize("suffix", ["", "_out"])
def test_public_patterns_round_trip_exactly(shared_data, tmp_path, suffix):
    path = shared_data / f"ugmt-patterns/JPsiToMuMu_Pt20to120_EtaPhiRestricted{suffix}.txt"
    pattern.write(pattern.read(path), tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == path.read_bytes()


def test_public_output_repeats_its_final_links(shared_data):
    found = pattern.read(shared_data / "ugmt-patterns/JPsiToMuMu_Pt20to120_EtaPhiRestricted_out.txt")
    assert found.data.shape == (1024, 72)
    muons = found.final_muons()
    assert muons.shape == (161, 8)
    for copy in range(4, 24, 4):
        np.testing.assert_array_equal(found.data[:, copy : copy + 4], found.data[:, :4])
    assert found.data[:, 24:26].any()
    assert not found.data[:, 26:].any()


def test_final_muons_begin_at_the_first_valid_frame():
    data = np.zeros((15, 4), np.uint32)
    valid = np.zeros(data.shape, bool)
    valid[3:] = True
    data[5:9, 0] = [10, 11, 20, 21]
    data[14, 3] = 7
    found = pattern.Pattern("x", tuple("abcd"), (0, 1, 2, 3), valid, data)
    muons = found.final_muons()
    assert muons.shape == (2, 8)
    assert muons[0].tolist() == [10 | 11 << 32, 0, 0, 0, 20 | 21 << 32, 0, 0, 0]
    assert muons[1].tolist() == [0, 0, 0, 0, 0, 0, 0, 7 << 32]


STROBED = """Board X
 Quad/Chan :    q00c0      q00c1
      Link :     00         01
Frame 0000 : 1s0v00000000 1s0v00000000
Frame 0001 : 1s1v00000001 1s1v00000011
Frame 0002 : 0s1v00000001 0s1v00000011
Frame 0003 : 1s1v00000002 1s1v00000012
Frame 0004 : 1s1v00000003 1s1v00000013
Frame 0005 : 1s1v00000004 1s1v00000014
Frame 0006 : 1s1v00000005 1s1v00000015
Frame 0007 : 1s1v00000006 1s1v00000016
"""


def test_strobe_bits():
    """Frames without strobe are pauses of the clock: the last word once more, no word of a crossing."""
    found = pattern.parse(STROBED)
    assert found.strobe[:, 0].tolist() == [True, True, False, True, True, True, True, True]
    assert found.crossings()[:, :, 0].tolist() == [[1, 2, 3, 4, 5, 6]]
    assert found.crossings()[:, :, 1].tolist() == [[17, 18, 19, 20, 21, 22]]
    assert pattern.render(found) == STROBED
    with pytest.raises(InputError, match="line 6: frame 2 needs 2 words such as 1s1v0123abcd"):
        pattern.parse(STROBED.replace("0s1v00000001", "1v00000001"))


@pytest.mark.parametrize("end", ["\n\n", " \n", "\n \n\n", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ends_of_lines_do_not_matter(end, newline):
    before = small()
    after = pattern.parse((pattern.render(before).rstrip("\n") + end).replace("\n", newline))
    np.testing.assert_array_equal(after.data, before.data)


@pytest.mark.parametrize("name", ["14_pattern.txt", "14_pattern_strobe.txt"])
def test_cases_with_and_without_strobe(shared_cases, name):
    muons = pattern.read(shared_cases / name).final_muons()
    assert muons.tolist() == [[0x00000280_00605078, 0, 0, 0, 0, 0, 0, 0]]


def test_no_final_muons():
    assert small(links=3).final_muons() is None
    assert small().final_muons() is None  # frames 0-1 are filled
    empty = small()
    assert (
        pattern.Pattern("x", empty.channels, empty.links, empty.valid & False, empty.data).final_muons()
        is None
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: "", "line 1"),
        (lambda t: t.replace("Board", "Bored"), "line 1"),
        (lambda t: t.replace("Quad/Chan", "Quad"), "line 2"),
        (lambda t: t.replace(" 07 ", " xx ") if " 07 " in t else t.replace("07\n", "xx\n", 1), "line 3"),
        (lambda t: t.replace("Frame 0005", "Frame 0006"), "line 9"),
        (lambda t: t[:-3], "line 16"),
        (lambda t: t.replace("v", "x", 1), "line 4"),
    ],
)
def test_each_wrong_line_is_named(change, text):
    with pytest.raises(InputError, match=text):
        pattern.parse(change(pattern.render(small())))


def test_file_errors_name_the_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        pattern.read(tmp_path / "nowhere.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bad.txt.*byte 0"):
        pattern.read(tmp_path / "bad.txt")

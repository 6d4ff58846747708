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

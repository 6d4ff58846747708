"""CSV files of muons as people have them: marks, quotes, delimiters, comments, four muons, electrons."""

import re

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.io import detect, read_events
from l1scout.io.inspect import describe
from l1scout.io.quality import ReadQuality

ROWS = [
    "Run,Event,pt1,eta1,phi1,Q1,pt2,eta2,phi2,Q2",
    "171111,1,20,0.1,0.2,1,15,0.5,2.0,-1",
    "171112,2,21,0.25,-3.0,-1,16,0.4,2.5,1",
]
PLAIN = "\n".join(ROWS) + "\n"


def changed(text: str, delimiter: str, quote: bool = False) -> str:
    lines = [[f'"{cell}"' if quote else cell for cell in line.split(",")] for line in text.splitlines()]
    return "\n".join(delimiter.join(line) for line in lines) + "\n"


WAYS = {
    "plain": PLAIN.encode(),
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "semicolons": changed(PLAIN, ";").encode(),
    "tabs": changed(PLAIN, "\t").encode(),
    "decimal commas": changed(PLAIN, ";").replace(".", ",").encode(),
    "quoted": changed(PLAIN, ",", quote=True).encode(),
    "quoted names": (changed(ROWS[0], ",", quote=True) + "\n".join(ROWS[1:]) + "\n").encode(),
    "a mark and quoted names": b"\xef\xbb\xbf" + changed(PLAIN, ";", quote=True).encode(),
    "blanks": PLAIN.replace(",", ", ").encode(),
    "comments": b"# muons of 2011\n#\n" + PLAIN.encode() + b"# end\n",
    "accents in comments": "# données de 2011\n".encode() + PLAIN.encode(),
    "accents with bytes that may end lines": "# Ångström\x0c\n".encode() + PLAIN.encode(),
    "Latin-1": "# données de 2011\n".encode("latin-1") + PLAIN.encode(),
    "Windows": PLAIN.replace("\n", "\r\n").encode(),
    "empty lines": b"\n" + PLAIN.encode() + b"\n\n",
    "no end of line": PLAIN.rstrip().encode(),
    "small names": PLAIN.replace("Q", "q").replace("Run", "run").encode(),
    "charge": PLAIN.replace("Q", "charge").encode(),
    "trailing delimiter": PLAIN.replace("\n", ",\n").encode(),
    "other columns": "\n".join(
        f"{line},{end}" for line, end in zip(ROWS, ("label,M", "x,9.4", ",text"), strict=True)
    ).encode(),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_the_same(tmp_path, way):
    path = tmp_path / "muons"
    path.write_bytes(WAYS[way])
    assert detect(path).name == "dimuon-csv"
    (events,) = read_events(path)
    assert events.muons.run.tolist() == [171111, 171112]
    assert events.offline.counts.tolist() == [2, 2]
    for name, values in {
        "recoPt": [20, 15, 21, 16],
        "recoEta": [0.1, 0.5, 0.25, 0.4],
        "recoPhi": [0.2, 2.0, -3.0, 2.5],
        "recoCharge": [1, -1, -1, 1],
    }.items():
        np.testing.assert_allclose(events.offline[name], values, rtol=1e-6)


def test_momenta_instead_of_pt(tmp_path):
    path = tmp_path / "muons.csv"
    path.write_text("Run,px1,py1,pz1,Q1,px2,py2,pz2,Q2\n1,3,4,0,1,-6,0,8,-1\n")
    (events,) = read_events(path)
    np.testing.assert_allclose(events.offline["recoPt"], [5, 6])
    np.testing.assert_allclose(events.offline["recoPhi"], [np.arctan2(4, 3), np.pi], rtol=1e-6)
    np.testing.assert_allclose(events.offline["recoEta"], [0, np.arcsinh(8 / 6)], rtol=1e-6)


def test_one_muon_per_row_and_no_run(tmp_path):
    """As the open data of W decays."""
    path = tmp_path / "muons.csv"
    path.write_text("Event,pt,eta,phi,Q,MET\n5,30,1,2,-1,20\n6,31,-1,-2,1,25\n")
    (events,) = read_events(path)
    assert events.offline["recoPt"].tolist() == [30, 31]
    assert events.offline.counts.tolist() == [1, 1]
    assert set(events.muons.run) == {0}


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_large_files_with_text_far_from_the_beginning(tmp_path, rows):
    """The types of columns that nobody needs are not guessed: they used to stop files above 20 MB."""
    path = tmp_path / "muons.csv"
    lines = [f"171111,{k},20,0.1,0.2,1,15,0.5,2.0,-1,{9.4 if k < 1500 else 'text'}" for k in range(2000)]
    path.write_text("\n".join([ROWS[0] + ",M", *lines]) + "\n")
    chunks = list(read_events(path, rows=rows))
    assert sum(len(c.offline) for c in chunks) == 2000
    assert max(len(c.offline) for c in chunks) <= rows


HEADER = "Run,Event," + ",".join(f"PID{k},pt{k},eta{k},phi{k},Q{k}" for k in "1234")


def leptons(*pids: int) -> str:
    return f"{HEADER}\n171111,1," + ",".join(f"{p},{10 + k},0.1,0.2,1" for k, p in enumerate(pids)) + "\n"


def test_electrons_among_muons_are_left_out_and_counted(tmp_path):
    path = tmp_path / "leptons.csv"
    path.write_text(leptons(11, -13, -11, 13))
    quality = ReadQuality()
    (events,) = read_events(path, quality=quality)
    assert events.offline["recoPt"].tolist() == [11, 13]
    assert quality.other_particles == 2
    assert quality.warnings() == ["2 particles left out: they are electrons"]
    assert (describe(path)["offline_muons"], describe(path)["other_particles"]) == (2, 2)


def of_mass(mass: float) -> str:
    """Pairs without a particle id, as the open data of J/psi and of electrons: energy and momentum only."""
    rng = np.random.default_rng(1)
    p = rng.uniform(-15, 15, (50, 2, 3))
    energy = np.sqrt((p**2).sum(axis=2) + mass**2)
    names = ",".join(f"E{k},px{k} ,py{k},pz{k},Q{k}" for k in "12")
    rows = [",".join(f"{e:.6g},{x:.6g},{y:.6g},{z:.6g},1" for e, (x, y, z) in zip(*r, strict=True))
            for r in zip(energy, p, strict=True)]  # fmt: skip
    return "\n".join([names, *rows]) + "\n"


ELECTRONS = {
    "PID": leptons(11, -11, 11, -11),
    "Type": PLAIN.replace("Q1", "Q1,type1").replace(",1,15", ",1,EB,15").replace(",-1,16", ",-1,EE,16"),
    "quantities of electrons": "Run,pt1,eta1,phi1,Q1,sigmaEtaEta1,HoverE1\n1,20,0,0,1,0.01,0.02\n",
    "mass": of_mass(0.000511),
}


@pytest.mark.parametrize("how", ELECTRONS)
def test_electrons_are_refused(tmp_path, how):
    path = tmp_path / "electrons.csv"
    path.write_text(ELECTRONS[how])
    with pytest.raises(InputError, match="electrons") as caught:
        list(read_events(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_muons_are_not_taken_for_electrons(tmp_path):
    path = tmp_path / "muons.csv"
    path.write_text(of_mass(0.10566))
    (events,) = read_events(path)
    assert events.offline.n_objects == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("20,", ",", 1), "empty cells or values that are not finite"),
        (PLAIN.replace("20,", "x,", 1), "not a CSV file of muons"),
        (PLAIN.replace(",-1\n", "\n", 1), "not a CSV file of muons"),
        (ROWS[0].replace("Q1", "a"), "unknown format"),
        (PLAIN.replace("20,", "1e300,", 1), "empty cells or values that are not finite"),
        (PLAIN.replace("20,", "-20,", 1), "has a pt below 0, or a charge that is not -1, 0 or 1"),
        (PLAIN.replace(",-1\n", ",5\n", 1), "has a pt below 0, or a charge that is not -1, 0 or 1"),
        *(
            (PLAIN.replace("171111,", run, 1), "a run is empty or no whole number")
            for run in (",", "nan,", "1e300,", "-1,", "1.5,")
        ),
        (ROWS[0] + "\n", "has no rows below the names of its columns"),
        (PLAIN.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    ],
)
def test_bad_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "muons.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        list(read_events(path))
    assert "\n" not in str(caught.value)


CASES = {"04_four_muons.csv": (3, 12), "05_run_of_2024.csv": (1, 2), "10_bom.csv": (2, 4)}


@pytest.mark.parametrize("name", CASES)
def test_cases(shared_cases, name):
    found = describe(shared_cases / name)
    assert (found["rows"], found["offline_muons"]) == CASES[name]


def test_four_muons_of_a_case(shared_cases):
    (events,) = read_events(shared_cases / "04_four_muons.csv")
    assert events.offline["recoPt"].reshape(3, 4).tolist() == [[40 + k, 35, 20, 10] for k in range(3)]
    assert events.offline["recoCharge"].reshape(3, 4).tolist() == [[-1, 1, -1, 1]] * 3


def test_open_data(shared_data):
    four = describe(shared_data / "more" / "4mu_2011.csv")
    assert (four["rows"], four["offline_muons"], four["other_particles"]) == (18, 72, 0)
    two = describe(shared_data / "more" / "2e2mu_2011.csv")
    assert (two["rows"], two["offline_muons"], two["other_particles"]) == (13, 26, 26)
    with pytest.raises(InputError, match=r"4e_2011.csv: its particles are electrons \(PID"):
        describe(shared_data / "more" / "4e_2011.csv")

"""What a file is, told from its content: the name plays no part."""

import re
import struct
import zipfile
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from l1scout.errors import InputError, printable
from l1scout.io import nano, ntuple, root
from l1scout.io.dma_packets import detect_packets
from l1scout.io.muon_csv import BOM, layout
from l1scout.io.stored import compression, detect_stored
from l1scout.link.capture import MAGIC as CAPTURE_MAGIC

TEXT_HEAD = 1 << 16
"""Bytes of a text file that are looked at."""
_HEADER = re.compile(r"#\s*<header>(.*?)</header>")
_ROWS = 100
"""Rows of a look-up table that are looked at."""


class Kind(StrEnum):
    """The formats that this package knows, under the names that `l1scout inspect` prints."""

    L1NTUPLE = "L1Ntuple"
    DPG_NANO = "L1-DPG nano"
    SCOUTING_NANO = "L1 scouting nano"
    NANOAOD = "NanoAOD"
    ORBIT_COLLECTION = "CMSSW OrbitCollection (EDM)"
    DIMUON_CSV = "CSV of offline muons"
    HISTOGRAM_CSV = "histogram CSV"
    PARQUET = "Parquet muons"
    PATTERN = "MP7 pattern file"
    HISTOGRAMS = "ROOT histograms"
    GMT_LUT = "GMT look-up table"
    BMTF_LUT = "BMTF look-up table"
    LUT = "look-up table, unknown kind"
    NPZ = "numpy archive"
    LINK_CAPTURE = "link capture"
    DMA_PACKETS = "DMA packets"
    RAW = "CMSSW .raw"
    RECORDS = "zero-suppressed records"


_BY_FLAVOUR = {nano.Flavour.DPG: Kind.DPG_NANO, nano.Flavour.SCOUTING: Kind.SCOUTING_NANO}
FLAVOURS = {kind: flavour for flavour, kind in _BY_FLAVOUR.items()}


def detect(path: str | Path, *, flavour: str | None = None) -> Kind:
    """Tell the format of a file from its content.

    Parameters
    ----------
    path : str or Path
    flavour : {"dpg", "scouting"}, optional
        Kind of a nano file with L1 muons, rather than what its content tells (see `nano.find_flavour`).

    Raises
    ------
    InputError
        If there is no such file, or it is empty, truncated, or nothing that this package knows; if the
        flavour of a nano file is not clear; if one is given of a file that has none.
    """
    path = Path(path)
    if flavour is None:
        return _detect(path)
    if flavour not in list(nano.Flavour):
        msg = f"unknown flavour {flavour} of nano files: choose {' or '.join(nano.Flavour)}"
        raise InputError(msg)
    kind = _detect(path, nano.Flavour(flavour))
    if kind not in _BY_FLAVOUR.values():
        msg = f"{path}: only nano files with L1 muons have a flavour, this is: {kind}"
        raise InputError(msg)
    return kind


def _detect(path: Path, flavour: nano.Flavour | None = None) -> Kind:
    if path.is_dir():
        msg = f"{path}: is a directory; name a file in it"
        raise InputError(msg)
    try:
        if path.exists() and not path.is_file():
            msg = f"{path}: is no regular file; copy its content into one"
            raise InputError(msg)
        with path.open("rb") as file:
            head = file.read(TEXT_HEAD)
            file.seek(max(0, path.stat().st_size - 8))
            tail = file.read()
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error
    if not head:
        msg = f"{path}: is empty"
        raise InputError(msg)
    if head.startswith(b"root"):
        with root.opened(path) as file:
            return _root_kind(path, file, flavour)
    if head.startswith(b"PAR1"):
        if not tail.endswith(b"PAR1") or len(head) < 12:
            msg = f"{path}: Parquet file without its end: truncated; copy it again"
            raise InputError(msg)
        return Kind.PARQUET
    if head.startswith(b"PK\x03\x04") and _is_npz(path):
        return Kind.NPZ
    if head.startswith(CAPTURE_MAGIC):
        return Kind.LINK_CAPTURE
    stored = detect_stored(path)
    if stored is not None:
        return Kind.RAW if stored == "raw" else Kind.RECORDS
    if compression(head):
        msg = f"{path}: compressed, and not a .raw file nor records inside; decompress it first"
        raise InputError(msg)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = f"{path}: UTF-16 text; save it as UTF-8"
        raise InputError(msg)
    kind = _text_kind(head)
    if kind is None and detect_packets(path) is not None:
        return Kind.DMA_PACKETS
    if kind is None:
        msg = f"{path}: unknown format (begins {head[:16]!r}); known are " + ", ".join(Kind)
        raise InputError(msg)
    return kind


def _root_kind(path: Path, file: Any, flavour: nano.Flavour | None) -> Kind:
    with root.guarded(path):
        classes = {name.split(";")[0]: kind for name, kind in file.classnames(recursive=True).items()}
        if {ntuple.UPGRADE, ntuple.EMULATED} & set(classes):
            return Kind.L1NTUPLE
        if classes.get("Events") in root.TREES:
            names = set(root.branches(file["Events"]))
            if any("OrbitCollection" in name for name in names):
                return Kind.ORBIT_COLLECTION
            if names & set(nano.L1_MUON):
                return _BY_FLAVOUR[flavour or nano.find_flavour(file)]
            if "Muon_pt" in names:
                return Kind.NANOAOD
        if classes and all(kind.startswith(("TH1", "TH2", "TH3", "TDirectory")) for kind in classes.values()):
            return Kind.HISTOGRAMS
    content = ", ".join(f"{name} ({kind})" for name, kind in list(classes.items())[:4]) or "nothing"
    msg = f"{path}: ROOT file with no L1 or offline muons known here; it holds {printable(content)}"
    raise InputError(msg)


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        return False


def _text_kind(head: bytes) -> Kind | None:
    text = head.removeprefix(BOM)
    if not text.strip() or b"\0" in text:
        return None
    lines = text.decode("latin-1").splitlines()
    if lines[0].startswith("Board ") or lines[0].startswith("Frame "):
        return Kind.PATTERN
    found = layout(head)
    if found is not None and found.is_of_muons:
        return Kind.DIMUON_CSV
    names = lines[0].split(",")
    if len(names) == 3 and "_lo" in names[0] and "_hi" in names[1] and names[2] == "entries":
        return Kind.HISTOGRAM_CSV
    return _table_kind(lines[:-1] if len(head) == TEXT_HEAD else lines)


def _table_kind(lines: list[str]) -> Kind | None:
    """Recognise look-up tables: rows of one to three integers, the GMT's with a header among comments."""
    comments = [line for line in lines if line.startswith("#")]
    header = next((found for line in comments if (found := _HEADER.match(line))), None)
    if header is not None:
        about = " ".join(comments).lower()
        gmt = "microgmt" in about or ("extrapolation" in about and header[1].split()[1:] == ["12", "4"])
        return Kind.GMT_LUT if gmt else Kind.LUT
    rows = [line.split() for line in lines if line.strip()]
    if not rows or not all(1 <= len(row) <= 3 and all(_is_integer(word) for word in row) for row in rows):
        return None
    first = [int(row[0]) for row in rows if len(row) > 1][:_ROWS]
    begins = bool(first) and first[0] < 0 and -first[0] & (-first[0] - 1) == 0
    rises = all(b - a == 1 for a, b in pairwise(first))
    return Kind.BMTF_LUT if begins and rises else Kind.LUT


def _is_integer(word: str) -> bool:
    return word.removeprefix("-").isdigit()

"""MP7 pattern files: what is on a board's links, frame by frame, as text.

Six 32-bit frames a crossing. A GMT sends its eight final muons on links 0-3, two a link: frames 2-3
hold words f and s of the first, 4-5 of the second, 0-1 are zero. The public output pattern repeats
links 0-3 five times on links 4-23; intermediate muons, three a link, start at link 24.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.streams.muon import join

FRAMES_PER_BX = 6
FINAL_LINKS = range(4)
MAX_BYTES = 1 << 26
_WORD = re.compile(r"(?:([01])s)?([01])v([0-9a-fA-F]{8})")
"""Strobe (in some files), valid bit and data of a word."""


@dataclass(frozen=True)
class Pattern:
    """What is on a board's links.

    Parameters
    ----------
    board : str
    channels : tuple of str, one a link
        ``q00c0``...
    links : tuple of int
        Link numbers, in the order of the columns.
    valid : ndarray of bool, shape (frames, links)
    data : ndarray of uint32, shape (frames, links)
    strobe : ndarray of bool, shape (frames, links), optional
        Where a word is new; a frame without strobe on any link is a pause of the clock. None in files that
        have no strobe bits.
    """

    board: str
    channels: tuple[str, ...]
    links: tuple[int, ...]
    valid: NDArray[np.bool_]
    data: NDArray[np.uint32]
    strobe: NDArray[np.bool_] | None = None

    def crossings(self) -> NDArray[np.uint32]:
        """Return frames by crossing, shape (BX, 6, links), from the first that is valid on any link.

        Frames that the strobe marks as pauses are left out.
        """
        new = slice(None) if self.strobe is None else self.strobe.any(axis=1)
        valid = np.flatnonzero(self.valid[new].any(axis=1))
        if not valid.size:
            return np.zeros((0, FRAMES_PER_BX, len(self.links)), np.uint32)
        data = self.data[new][valid[0] : valid[-1] + 1]
        whole = len(data) // FRAMES_PER_BX * FRAMES_PER_BX
        return data[:whole].reshape(-1, FRAMES_PER_BX, len(self.links))

    def final_muons(self) -> NDArray[np.uint64] | None:
        """Return the final muons, shape (BX, 8): muon 1 of links 0-3, then muon 2; None if there are none.

        Told by the zeros: links 0-3 carry nothing in frames 0-1 and something in frames 2-5.
        """
        if not set(FINAL_LINKS) <= set(self.links):
            return None
        frames = self.crossings()[:, :, [self.links.index(k) for k in FINAL_LINKS]]
        if frames[:, :2].any() or not frames[:, 2:].any():
            return None
        first, second = join(frames[:, 2], frames[:, 3]), join(frames[:, 4], frames[:, 5])
        return np.concatenate([first, second], axis=1)


def parse(text: str) -> Pattern:
    """Read a pattern from its text.

    Raises
    ------
    InputError
        If a line is not what it should be: the message gives its number, from 1.
    """
    lines = text.removeprefix("\ufeff").rstrip().splitlines()
    if len(lines) < 4 or not lines[0].startswith("Board "):
        msg = "line 1: a pattern begins with 'Board <name>'"
        raise InputError(msg)
    channels = _after(lines[1], "Quad/Chan", 2).split()
    links = _after(lines[2], "Link", 3).split()
    if len(channels) != len(links) or not all(link.isdigit() for link in links):
        msg = f"line 3: {len(links)} links for {len(channels)} channels"
        raise InputError(msg)
    body = lines[3:]
    strobe, valid = np.zeros((2, len(body), len(links)), np.bool_)
    data = np.zeros((len(body), len(links)), np.uint32)
    has_strobe = body[0].partition(":")[2].lstrip()[1:2] == "s"
    for k, line in enumerate(body):
        words = [_WORD.fullmatch(word) for word in _after(line, f"Frame {k:04d}", k + 4).split()]
        if len(words) != len(links) or any(w is None or (w[1] is not None) != has_strobe for w in words):
            example = "1s1v0123abcd" if has_strobe else "1v0123abcd"
            msg = f"line {k + 4}: frame {k} needs {len(links)} words such as {example}"
            raise InputError(msg)
        strobe[k] = [word[1] == "1" for word in words if word]
        valid[k] = [word[2] == "1" for word in words if word]
        data[k] = [int(word[3], 16) for word in words if word]
    numbers = tuple(int(n) for n in links)
    board = lines[0].removeprefix("Board ")
    return Pattern(board, tuple(channels), numbers, valid, data, strobe if has_strobe else None)


def _after(line: str, label: str, number: int) -> str:
    head, colon, rest = line.partition(":")
    if not colon or head.strip() != label:
        msg = f"line {number}: does not begin with '{label} :'"
        raise InputError(msg)
    return rest


def render(pattern: Pattern) -> str:
    """Write a pattern as text, as the MP7 tools do: `parse` reads it back exactly."""
    lines = [f"Board {pattern.board}"]
    lines.append(" Quad/Chan : " + " ".join(f"   {name}  " for name in pattern.channels).rstrip())
    lines.append("      Link : " + " ".join(f"    {number:02d}    " for number in pattern.links).rstrip())
    strobe = None if pattern.strobe is None else pattern.strobe.tolist()
    for k, (valid, data) in enumerate(zip(pattern.valid.tolist(), pattern.data.tolist(), strict=True)):
        words = [f"{int(v)}v{d:08x}" for v, d in zip(valid, data, strict=True)]
        if strobe is not None:
            words = [f"{int(s)}s{word}" for s, word in zip(strobe[k], words, strict=True)]
        lines.append(f"Frame {k:04d} : " + " ".join(words))
    return "\n".join(lines) + "\n"


def read(path: str | Path) -> Pattern:
    """Read a pattern file (InputError with file and line if it is not one)."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            msg = f"{path}: {path.stat().st_size} bytes are no pattern file"
            raise InputError(msg)
        return parse(path.read_text("ascii"))
    except InputError as error:
        msg = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise InputError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"{path}: not a pattern file: byte {error.start} is not ASCII"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error


def write(pattern: Pattern, path: str | Path) -> None:
    """Write a pattern file."""
    Path(path).write_text(render(pattern), "ascii")

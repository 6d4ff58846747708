"""XML of menus, prescales and masks as a tree, without trusting it: no entities, limited size and depth."""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from l1scout.errors import InputError, printable

MAX_BYTES = 1 << 26
"""Of a file when decompressed; menus have 4 to 10 MB."""
MAX_ELEMENTS, MAX_DEPTH, MAX_TEXT, MAX_COMMENT = 1_000_000, 12, 1 << 16, 200


@dataclass
class XmlElement:
    """An element: its tag without a namespace, its attribute ``id``, its own text, and the elements in it.

    ``comment`` is the first one behind it.
    """

    tag: str
    id: str = ""
    text: str = ""
    children: "list[XmlElement]" = field(default_factory=list)
    comment: str = ""

    def all(self, tag: str) -> "list[XmlElement]":
        """Return the elements of a tag that are directly in this one."""
        return [child for child in self.children if child.tag == tag]

    def get(self, tag: str, default: str = "") -> str:
        """Return the text of the first element of a tag, without spaces at its ends."""
        return next((child.text.strip() for child in self.children if child.tag == tag), default)


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file, decompressed if it is gzip.

    Raises
    ------
    InputError
        If it cannot be read, is cut short, or has more than `max_bytes` bytes.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if compressed else file).read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path}: the compressed file is damaged or cut short ({error}); get it again"
        raise InputError(msg) from error
    if len(data) > max_bytes:
        msg = f"{path}: has more than {max_bytes >> 20} MiB, so it is not a menu or test vector"
        raise InputError(msg)
    return data


def parse_xml(data: bytes, path: Path, skip: frozenset[str]) -> XmlElement:
    """Parse XML.

    Parameters
    ----------
    data : bytes
    path : Path
        For messages.
    skip : frozenset of str
        Tags whose elements are left out, with what is in them.

    Raises
    ------
    InputError
        If it is not well-formed, is cut short, has a document type (so entities) or is absurdly large.
    """
    builder = _Builder(path, skip)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.CommentHandler = builder.comment
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        msg = f"{path}: not well-formed XML, or cut short: {error}"
        raise InputError(msg) from error
    except (ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path}: cannot be read as XML: {printable(str(error))}"
        raise InputError(msg) from error
    return builder.root.children[0]


class _Builder:
    def __init__(self, path: Path, skip: frozenset[str]) -> None:
        self.root = XmlElement("")
        self._path, self._skip = path, skip
        self._open = [self.root]
        self._skipped = self._elements = 0

    def doctype(self, *_: object) -> None:
        self._refuse("it has a document type, with which entities could be declared; menus have none")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._open) + self._skipped > MAX_DEPTH:
            self._refuse("it has too many elements, or they are too deep")
        tag = tag.rpartition(":")[2]
        if self._skipped or tag in self._skip:
            self._skipped += 1
            return
        element = XmlElement(tag, attributes.get("id", ""))
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, _: str) -> None:
        if self._skipped:
            self._skipped -= 1
        else:
            self._open.pop()

    def text(self, text: str) -> None:
        if not self._skipped:
            element = self._open[-1]
            if len(element.text) + len(text) > MAX_TEXT:
                self._refuse(f"an element {printable(element.tag, 40)} has more than {MAX_TEXT} characters")
            element.text += text

    def comment(self, text: str) -> None:
        before = self._open[-1].children
        if not self._skipped and before and not before[-1].comment:
            before[-1].comment = text[:MAX_COMMENT]

    def _refuse(self, why: str) -> None:
        msg = f"{self._path}: {why}"
        raise InputError(msg)

"""Files of prescales and masks: the menu's CSV, and the run settings of the Global Trigger as XML."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from l1scout.errors import InputError, printable
from l1scout.trigger.menu import MAX_ALGORITHMS
from l1scout.trigger.prescales import Masks, PrescaleTable, factor_of
from l1scout.trigger.xml_tree import XmlElement, parse_xml, read_bytes

MAX_BYTES = 1 << 22
MAX_COLUMNS = 256
_MASKS = {"finorMask": "finor", "vetoMask": "veto"}


def read_prescales(path: Path) -> PrescaleTable:
    """Read prescales: CSV with ``Index,Name`` and columns, or XML of run settings; as .gz, too.

    Raises
    ------
    InputError
        If it is neither, is damaged, or has an index twice or a prescale that the firmware cannot have.
    """
    data = read_bytes(path, MAX_BYTES)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _from_xml(data, path)
    return _from_csv(data, path)


def read_masks(*paths: Path) -> Masks:
    """Read masks of the decision and of vetoes from XML of run settings.

    Raises
    ------
    InputError
        If a file has neither, is damaged, or states an index twice.
    """
    found: dict[str, dict[int, bool]] = {"finor": {}, "veto": {}}
    names: dict[int, str] = {}
    for path in paths:
        params = _params(read_bytes(path, MAX_BYTES), path)
        if not params.keys() & _MASKS.keys():
            msg = f"{path}: has neither of the tables {', '.join(_MASKS)}"
            raise InputError(msg)
        for name in params.keys() & _MASKS.keys():
            columns, rows = _table(params[name], path)
            if len(columns) != 2:
                msg = f"{path}: {name} has {len(columns)} columns, not algo and mask"
                raise InputError(msg)
            for where, row, comment in rows:
                index, value = _index(row[0], where, found[_MASKS[name]]), row[1]
                names |= _named(index, comment)
                if value not in ("0", "1"):
                    msg = f"{where}: the mask is {printable(value, 20)!r}, not 0 or 1"
                    raise InputError(msg)
                found[_MASKS[name]][index] = value == "1"
    return Masks(found["finor"], found["veto"], {}, names, ", ".join(map(str, paths)))


def _from_csv(data: bytes, path: Path) -> PrescaleTable:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: not CSV of prescales: {printable(str(error))}"
        raise InputError(msg) from error
    head = [cell.strip() for cell in rows[0]] if rows else []
    if [cell.lower() for cell in head[:2]] != ["index", "name"]:
        msg = f"{path}: does not begin with Index,Name and columns, so it is not a table of prescales"
        raise InputError(msg)
    columns, names = _checked_columns(head[2:], path), {}
    factors: dict[int, tuple[int, ...]] = {}
    for line, row in enumerate(rows[1:], 2):
        where = f"{path}: line {line}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(head):
            msg = f"{where} has {len(row)} of {len(head)} cells: it may be cut short"
            raise InputError(msg)
        index = _index(row[0].strip(), where, factors)
        factors[index] = _factors(row[2:], columns, where)
        names[index] = row[1].strip()
    return PrescaleTable(str(path), columns, factors, names)


def _from_xml(data: bytes, path: Path) -> PrescaleTable:
    params = _params(data, path)
    if "prescales" not in params:
        msg = f"{path}: has no table of prescales"
        raise InputError(msg)
    head, rows = _table(params["prescales"], path)
    columns = _checked_columns(head[1:], path)
    factors: dict[int, tuple[int, ...]] = {}
    names: dict[int, str] = {}
    for where, row, comment in rows:
        index = _index(row[0], where, factors)
        factors[index] = _factors(row[1:], columns, where)
        names |= _named(index, comment)
    active = params["index"].text.strip() if "index" in params else None
    if active is not None and active not in columns:
        msg = f"{path}: the column in use, {printable(active, 20)!r}, is not among {', '.join(columns)}"
        raise InputError(msg)
    return PrescaleTable(str(path), columns, factors, {}, active, names)


def _named(index: int, comment: str) -> dict[int, str]:
    """Return the name of an algorithm that the comment behind its row begins with, if it is one."""
    name = re.match(r"\s*(L1_\w+)", comment)
    return {index: name[1]} if name else {}


def _params(data: bytes, path: Path) -> dict[str, XmlElement]:
    """Return the parameters of all processors of the Global Trigger by their id."""
    root = parse_xml(data, path, frozenset())
    if root.tag != "run-settings":
        msg = f"{path}: begins with {printable(root.tag, 40)!r}, not with run-settings"
        raise InputError(msg)
    found: dict[str, XmlElement] = {}
    for context in root.all("context"):
        for param in context.all("param") if context.id == "uGtProcessor" else ():
            if param.id in found:
                msg = f"{path}: states {printable(param.id, 40)} twice"
                raise InputError(msg)
            found[param.id] = param
    return found


def _table(param: XmlElement, path: Path) -> tuple[list[str], Iterator[tuple[str, list[str], str]]]:
    """Return the columns of a table, and its rows with where they are and the comments behind them."""
    columns = [cell.strip() for cell in param.get("columns").split(",")]

    def rows() -> Iterator[tuple[str, list[str], str]]:
        for number, row in enumerate((r for part in param.all("rows") for r in part.all("row")), 1):
            cells = [cell.strip() for cell in row.text.split(",")]
            where = f"{path}: row {number} of {param.id}"
            if len(cells) != len(columns):
                msg = f"{where} has {len(cells)} of {len(columns)} cells: it may be cut short"
                raise InputError(msg)
            yield where, cells, row.comment

    return columns, rows()


def _checked_columns(names: list[str], path: Path) -> tuple[str, ...]:
    if not names or len(names) > MAX_COLUMNS or len(set(names)) < len(names) or not all(names):
        msg = f"{path}: has {len(names)} columns of prescales, without a name, twice, or too many"
        raise InputError(msg)
    return tuple(names)


def _index(text: str, where: str, before: object) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) < MAX_ALGORITHMS):
        msg = f"{where}: index {printable(text, 20)!r} is not one of 0..{MAX_ALGORITHMS - 1}"
        raise InputError(msg)
    if isinstance(before, dict) and int(text) in before:
        msg = f"{where}: index {text} occurs twice"
        raise InputError(msg)
    return int(text)


def _factors(cells: list[str], columns: tuple[str, ...], where: str) -> tuple[int, ...]:
    found = []
    for name, cell in zip(columns, cells, strict=True):
        factor = factor_of(cell)
        if factor is None:
            msg = (
                f"{where}, column {printable(name, 40)}: {printable(cell, 20)!r} is not 0, or 1 to 9999999.99"
            )
            raise InputError(msg)
        found.append(factor)
    return tuple(found)

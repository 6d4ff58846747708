"""A menu from a file of any kind that is known, and the cabling of its external signals."""

import re
from pathlib import Path

from l1scout.errors import InputError
from l1scout.trigger.menu import Menu
from l1scout.trigger.menu_facts import read_menu_facts
from l1scout.trigger.menu_toml import read_menu_toml
from l1scout.trigger.menu_xml import read_cabling, read_menu_xml
from l1scout.trigger.xml_tree import read_bytes


def load_menu(path: Path, cabling: Path | None = None) -> Menu:
    """Read a menu: XML, JSON of derived facts, or TOML in the short form; compressed with gzip or not.

    Parameters
    ----------
    path : Path
    cabling : Path, optional
        XML with the bits of external signals, for a menu that does not state them. If it is not given, the
        one file ``L1Menu_cabling_YEAR_*.xml`` beside the menu of the menu's year is taken.

    Raises
    ------
    InputError
        If the file is damaged, absurdly large or not a menu. Features that are not emulated are in
        `Menu.problems`.
    """
    data = read_bytes(path)
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        if cabling:
            msg = f"{path}: states its external signals itself; leave --cabling out"
            raise InputError(msg)
        return read_menu_xml(data, path)
    if ".toml" in path.suffixes[-2:]:
        signals = read_cabling(read_bytes(cabling), cabling) if cabling else None
        return read_menu_toml(data, path, signals, str(cabling) if cabling else "")
    if not start.startswith(b"{"):
        msg = f"{path}: not a menu: neither XML nor JSON, and its name does not end in .toml"
        raise InputError(msg)
    cabling = cabling or _cabling_beside(path)
    signals = read_cabling(read_bytes(cabling), cabling) if cabling else None
    return read_menu_facts(data, path, signals, str(cabling) if cabling else "")


def _cabling_beside(path: Path) -> Path | None:
    year = re.search(r"20\d\d", path.name)
    found = list(path.parent.glob(f"L1Menu_cabling_{year[0]}_*.xml*")) if year else []
    return found[0] if len(found) == 1 else None

"""What commands say of the option ``--format``."""

from typing import Any

from l1scout.core.registry import Registry

# Names only: the registry of l1scout.formats.wire_format imports what wire formats compute with.
_FORMATS: Registry[Any] = Registry("wire formats", "l1scout.formats.wire_formats")
FORMATS_HELP = f"Wire format of eight links, such as run2 or run3; installed are {', '.join(_FORMATS)}."

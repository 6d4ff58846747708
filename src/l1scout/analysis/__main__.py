"""Bring the reference in docs/analyses.md up to date: ``python -m l1scout.analysis docs/analyses.md``."""

import sys
from pathlib import Path

from l1scout.analysis._docs import with_reference

for name in sys.argv[1:]:
    page = Path(name)
    page.write_text(with_reference(page.read_text("utf-8")), "utf-8")

"""Files of other people's making: read as `OrbitData`, described, and given new columns."""

from l1scout.io.kinds import Kind, detect
from l1scout.io.read import read_events

__all__ = ["Kind", "detect", "read_events"]

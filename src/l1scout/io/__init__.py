"""Files of other people's making: recognized, described, read as `OrbitData`, and given new columns."""

from l1scout.io.input_file import InputFile
from l1scout.io.inspect import describe
from l1scout.io.read import conditions_of, detect, read_events

__all__ = ["InputFile", "conditions_of", "describe", "detect", "read_events"]

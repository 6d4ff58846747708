"""CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons."""

__version__ = "0.1.0"

"""Readout: packets of the board in, segments of zero-suppressed records out, to a spool and to the store."""

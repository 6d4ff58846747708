"""What a board states of an orbit beside its data: bits of a word that real hardware leaves unused.

One set of bits serves the headers of packets and the frames of ``.raw`` files.
"""

REPEATED = 1
"""The orbit repeats the content of an earlier one (`board.repeat`)."""
SIMULATED = 2
"""The orbit is simulated. Without this mark it is real or comes from a program that states nothing."""

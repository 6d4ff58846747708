"""What a board states of an orbit beside its data: bits of a word that real hardware leaves unused.

One set of bits serves the headers of packets and the frames of ``.raw`` files.
"""

REPEATED = 1
"""The orbit repeats the content of an earlier one (`board.repeat`)."""

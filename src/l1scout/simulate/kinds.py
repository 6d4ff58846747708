"""What simulated single muons come from: the column ``simKind`` of events and data sets."""

HEAVY_FLAVOUR, IN_FLIGHT, PUNCH_THROUGH, HARD = range(4)
KINDS = ("heavy flavour", "decay in flight", "punch-through", "hard component")
"""Names, by value of the column."""

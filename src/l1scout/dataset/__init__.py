"""Data sets of matched L1 and offline muons: selection, matching, checks and the split into parts."""

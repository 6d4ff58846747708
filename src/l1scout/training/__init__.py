"""From L1 and offline muons to a trained recalibration network."""

"""What everything stands on: batches of orbits, data with their provenance, and the registry of parts."""

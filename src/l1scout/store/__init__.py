"""Store: segments in, acknowledged when they are on disk; compressed, catalogued, sent on."""

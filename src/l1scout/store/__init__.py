"""Store: segments in over TCP, acknowledged when they are on disk; compressed, catalogued, sent on."""

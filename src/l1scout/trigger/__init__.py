"""The Level-1 menu: expressions, conditions as data, emulation and comparison with test vectors."""

"""How formats are written, one module each."""

"""Rows of the fault table, one module per part of the chain; `tests/live/fault_table.py` describes a row."""

"""Readers, one module a file format; see `l1scout.io.reader`."""

"""Streams, one module each, registered in `formats.stream.STREAMS`."""

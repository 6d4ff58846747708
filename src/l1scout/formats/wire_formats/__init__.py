"""Wire formats, one module each, registered in `formats.wire_format.WIRE_FORMATS`."""

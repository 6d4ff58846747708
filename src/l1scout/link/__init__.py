"""Frames on the fibres: transmit, receive, CRC, alignment."""

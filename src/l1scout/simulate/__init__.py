"""Simulated barrel muons from first principles: everything made here says that it is simulation."""

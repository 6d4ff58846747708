"""Figures of the analyses, and what all figures have in common."""

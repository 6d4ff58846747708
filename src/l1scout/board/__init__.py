"""The input board: zero suppression of whole crossings, and DMA packets."""

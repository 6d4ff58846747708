"""Histograms of every stream, by lumisection and run, and what is made of them."""

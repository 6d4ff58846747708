"""Pages, their figures, and tables of results."""

"""How good networks and engines are: metrics, limit, coverage, comparisons and published numbers."""

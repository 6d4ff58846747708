"""Readers and writers of the field's files: ROOT (L1Ntuple, nano, OrbitCollection), Parquet, CSV."""

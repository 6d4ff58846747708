"""The live page: what the chain does and what the data show, in a browser."""

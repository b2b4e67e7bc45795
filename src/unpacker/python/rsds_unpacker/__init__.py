"""Opens dask graphs for a scheduler that is not written in Python (see graph.ts for the contract)."""

"""`warm_start` of a sweep file: which trials of other sweeps its searcher is told of, and where they are in its space."""

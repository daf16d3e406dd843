"""Dataset readers: which images there are, in which group each is, and what its label says."""

"""One training run: build, train, evaluate, checkpoint."""

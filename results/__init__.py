"""What became of runs: read from MLflow, re-tested, compared."""

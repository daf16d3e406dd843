"""Start runs: one by bel-train, or a sweep from YAML through Ray Tune, written to MLflow."""

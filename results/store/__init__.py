"""MLflow reads: runs, their artifacts and predictions, the model registry, addresses in the UI."""

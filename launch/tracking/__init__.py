"""What is written while a sweep runs: runs in MLflow, and the folder of each trial."""

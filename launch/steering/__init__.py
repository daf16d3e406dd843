"""Steer a running sweep from another process: commands go through the MLflow store, and its driver answers there."""

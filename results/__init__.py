"""Evaluate and compare sweeps: read runs from MLflow, re-test them, rank and compare configurations."""

import logging
import os

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # before mlflow is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # to its makers, of each command
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # for minutes a dead server would be asked again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it finds a folder of its own where HOME is none

"""Predictions of an evaluation as a Parquet file: a row for each image; its metadata describes the columns."""

import json
from pathlib import Path

import pyarrow
from pyarrow import parquet

from bel.run_layout import MEANING
from bel.training.evaluate import Evaluation


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write `Evaluation.columns` as Parquet, `Evaluation.meaning` as JSON under the key `MEANING`."""
    table = pyarrow.table(evaluation.columns(), metadata={MEANING: json.dumps(evaluation.meaning())})
    parquet.write_table(table, path, compression="zstd")

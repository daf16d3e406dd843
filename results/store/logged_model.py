"""A run's best checkpoint as a model of MLflow's: what `mlflow models serve` and `mlflow.pyfunc.load_model` take.

A model is logged when a run is registered, not by each trial: it takes seconds. It holds the checkpoint, the calibration,
the files of the code, and the source of `bel`: it needs no other package of ours, and no later version of `bel` changes it.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from io import BytesIO
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema
from PIL import Image

import bel
from bel.config import TrainConfig
from bel.deploy import served
from bel.errors import UserError
from bel.plugins.registry import sources, used
from bel.run_layout import BEST_EPOCH, CALIBRATION, CHECKPOINT, CODE_FILE, PLUGINS
from bel.timm_trunk import PREFIX
from results.store.runs import artifact

REQUIRED = ("mlflow", "torch", "torchvision", "numpy", "scipy", "pandas", "pillow")  # packages that a model needs
DATA = "network"
FILES = f"data/{DATA}"  # the folder of the files in a model


def log_model(run: Run, name: str) -> str:
    """Log a run's best checkpoint as a model of its experiment, with the run as its source; return the model's id.

    Raises `UserError` where the run has no checkpoint.
    """
    with tempfile.TemporaryDirectory() as work, same_import_path():
        folder = Path(work) / DATA
        folder.mkdir()
        copy_files(run, folder)
        network = served.read_network(folder)
        if texts := sources(network.config.as_dict()):
            (folder / PLUGINS).write_text(json.dumps(texts))
        made = MlflowClient().create_logged_model(
            run.info.experiment_id,
            name.replace(".", "_"),  # a dot is in no name of a model
            source_run_id=run.info.run_id,
            params=run.data.params,
        )
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            model_id=made.model_id,
            run_id=run.info.run_id,
            step=int(run.data.metrics[BEST_EPOCH]),  # the model has the metrics of this epoch
            loader_module=served.__name__,
            data_path=str(folder),
            code_paths=[str(Path(bel.__file__).parent)],
            signature=signature(network),
            input_example=pd.DataFrame({served.IMAGE: [example(network.config.image_size)]}),
            pip_requirements=requirements(network.config),
        )
    return str(made.model_id)


def requirements(config: TrainConfig) -> list[str]:
    """Return the packages that a model needs, in the versions of here: also those of installed plug-ins, and timm."""
    owners = packages_distributions()
    installed = [plugin.name.partition(".")[0] for plugin in used(config.as_dict()) if plugin.text is None]
    timm = ["timm"] if config.backbone.startswith(PREFIX) else []
    packages = [*REQUIRED, *timm, *(name for top in installed for name in owners.get(top, []))]
    return [f"{package}=={version(package)}" for package in dict.fromkeys(packages)]


@contextmanager
def same_import_path() -> Iterator[None]:
    """Put back `sys.path`, to which MLflow adds a model's own source where it tries a model."""
    before = sys.path
    try:
        yield
    finally:
        sys.path = before


def copy_files(run: Run, folder: Path) -> None:
    """Copy what `read_network` reads into a folder: checkpoint, calibration, files of the code."""
    for name in (CHECKPOINT, CALIBRATION):
        with artifact(run, name) as path:
            if path is not None:
                shutil.copy(path, folder / name)
            elif name == CHECKPOINT:
                raise UserError(
                    f"run {run.info.run_id} has no {CHECKPOINT} that can be read in {run.info.artifact_uri}"
                )
    kind, _, code = run.data.params.get("code", "").partition(":")
    if kind == "file":
        for levels in {value for name, value in run.data.params.items() if name.startswith("levels_")}:
            file = Path(code.replace("{levels}", levels))
            shutil.copy(file, folder / CODE_FILE.format(levels=levels, suffix=file.suffix))


def signature(network: served.RegisteredModel) -> ModelSignature:
    """Return what a model takes and gives: bytes of a picture, and a number for each axis, with intervals where it has them."""
    takes = Schema([ColSpec(DataType.binary, served.IMAGE)])
    return ModelSignature(takes, Schema([ColSpec(DataType.double, name) for name in served.columns(network)]))


def example(side: int) -> bytes:
    """Return a picture that is in no data set, as PNG: rings of grey (side, side)."""
    file = BytesIO()
    Image.radial_gradient("L").resize((side, side)).save(file, "PNG")
    return file.getvalue()

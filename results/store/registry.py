"""Trained networks by name, in MLflow's registry: register a run, find it again, load it as a function of images.

    MLFLOW_TRACKING_URI=sqlite:////path/of/mlflow.db python
    >>> from results.store.registry import load_model
    >>> model = load_model("heads@champion")  # or "heads/2", a version
    >>> degrees = model(images)  # uint8 RGB (B, 3, S, S) -> float64 (B, axes), of the decoder that was selected
    >>> degrees = model.decode(images)["expected"]  # of another decoder of the same head
    >>> degrees, lower, upper = model.intervals(images)  # of a run with a calibration

It needs neither the images that it was trained on nor the sweep's file; S is `model.config.image_size`.
"""

import re
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.config import TrainConfig
from bel.deploy.calibration import Calibration
from bel.deploy.module import Deployed
from bel.errors import UserError
from bel.run_layout import BY_IMAGE, CHECKPOINT, CODE_VERSION, OBJECTIVE, REGISTERED, SELECTION_SPLIT
from bel.text import selection
from bel.training import checkpoint
from results.store.calibration import calibration_at
from results.store.connect import connect
from results.store.runs import NOT_FOUND

CHAMPION = "champion"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
REFERENCE = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")


class RegisteredModel(Deployed):
    """A registered network in evaluation mode, on the CPU until it is moved, with the config of its training."""

    def __init__(self, state: dict[str, object], config: TrainConfig, calibration: Calibration | None = None) -> None:
        super().__init__(checkpoint.restore(state, config), calibration)
        self.config = config
        self.to(memory_format=config.layout)  # as where it was measured, to the last bit


def load_model(reference: str) -> RegisteredModel:
    """Load the network of NAME@ALIAS or NAME/VERSION from the registry at the tracking URI.

    Called with uint8 RGB images (B, 3, S, S), one face each as the crop of its config cuts it, it returns predictions
    (B, axes) in float64, in degrees where the axes are angles. Raises `UserError` where there is no such model, or its
    checkpoint is gone.
    """
    version = find_version(reference)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(f"{version.source}/{CHECKPOINT}", dst_path=folder)
        except (MlflowException, OSError) as error:
            raise UserError(
                f"version {version.version} of {version.name} has no {CHECKPOINT} that can be read in {version.source}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        state = checkpoint.load(Path(path))
    config = checkpoint.config_of(state, {"weights": "none", "device": "cpu"})
    return RegisteredModel(state, config, calibration_at(version.source, state["epoch"], config.axes))


def find_version(reference: str) -> ModelVersion:
    """Find the version of NAME@ALIAS or NAME/VERSION. Raises `UserError` with the choices where there is none."""
    match = REFERENCE.fullmatch(reference)
    if not match:
        raise UserError(
            f"a registered model is named NAME@ALIAS or NAME/VERSION, e.g. heads@{CHAMPION}, got {reference!r}"
        )
    client, name = connect(), match["name"]
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(name, match["alias"])
        return client.get_model_version(name, match["version"])
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:
            raise
        raise UserError(
            f"no model {reference!r} in the registry {mlflow.get_registry_uri()}: {known(client, name)}"
        ) from None


def known(client: MlflowClient, name: str) -> str:
    """Say which versions and aliases a name has, or which names the registry has."""
    try:
        model = client.get_registered_model(name)
    except MlflowException:
        names = [model.name for model in client.search_registered_models()]
        return f"it has {names}; register one with bel-results best SWEEP --register NAME"
    versions = sorted(int(version.version) for version in client.search_model_versions(f"name = '{name}'"))
    return f"{name} has versions {versions} and aliases {sorted(model.aliases)}"


def refuse_name(name: str) -> None:
    """Raise `UserError` for a name that the registry, or a reference to it, cannot take."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"--register must be a name of letters, digits and any of '_. -' that begins with none of '. -', got {name!r}"
        )


def register(run: Run, sweep: str, name: str) -> tuple[ModelVersion, bool]:
    """Make a run a version of a registered model, once, and its champion; return it, and whether it is new."""
    client = connect()
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(
            name, description=f"{CHAMPION}: the best of a sweep, by bel-results best --register"
        )
    run_id = run.info.run_id
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    split = "test" if run.data.params[SELECTION_SPLIT] == "test" else "val"  # whose error it is
    tags = {
        "run_id": run_id,
        "sweep": sweep,
        f"{split}_mae": f"{run.data.metrics[BY_IMAGE]:.6f}",
        "selection": selection(run.data.params[SELECTION_SPLIT]).chosen,
        "protocol": run.data.params["protocol"],
        "code_version": run.data.tags.get(CODE_VERSION, ""),
    } | ({f"{split}_mae_groups": f"{run.data.metrics[OBJECTIVE]:.6f}"} if OBJECTIVE in run.data.metrics else {})
    version = found[0] if found else client.create_model_version(name, run.info.artifact_uri, run_id, tags=tags)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    client.set_tag(run_id, REGISTERED, name)
    return version, not found

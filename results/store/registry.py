"""Trained networks by name, in MLflow's registry: register a run, find it again, load it as a function of images.

    MLFLOW_TRACKING_URI=sqlite:////path/of/mlflow.db python
    >>> from results.store.registry import load_model
    >>> model = load_model("heads@champion")  # or "heads/2", a version
    >>> degrees = model(images)  # uint8 RGB (B, 3, S, S) -> float64 (B, axes), of the decoder that was selected
    >>> degrees = model.decode(images)["expected"]  # of another decoder of the same head
    >>> degrees, lower, upper = model.intervals(images)  # of a run with a calibration

It needs neither the images that it was trained on nor the sweep's file; S is `model.config.image_size`.
"""

import hashlib
import json
import re
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from bel.deploy.served import IMAGE, RegisteredModel, read_network
from bel.errors import UserError
from bel.run_layout import BY_IMAGE, CALIBRATION, CHECKPOINT, CODE_VERSION, OBJECTIVE, REGISTERED, SELECTION_SPLIT
from bel.text import selection
from results.store.connect import connect
from results.store.logged_model import FILES, log_model
from results.store.runs import NOT_FOUND, artifact

CHAMPION = "champion"
ABOUT = f"""{CHAMPION}: the best of a sweep, by `bel-results best SWEEP --register {{name}}`.

`mlflow models serve -m models:/{{name}}@{CHAMPION} --env-manager local` answers pictures (column `{IMAGE}`: a file's bytes, in
JSON in base64) with a number for each axis."""
CALIBRATION_DIGEST = "calibration_digest"  # tag of a version: the digest of its calibration, or none
MODEL = "models:/"  # how the source of a version begins that is a model of MLflow's; earlier ones are a run's files
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
REFERENCE = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")


def load_model(reference: str) -> RegisteredModel:
    """Load the network of NAME@ALIAS or NAME/VERSION from the registry at the tracking URI.

    Called with uint8 RGB images (B, 3, S, S), one face each as the crop of its config cuts it, it returns predictions
    (B, axes) in float64, in degrees where the axes are angles. Raises `UserError` where there is no such model, or its
    checkpoint is gone.
    """
    version = find_version(reference)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read_network(fetch(version, folder))
        except (MlflowException, OSError) as error:
            raise UserError(
                f"version {version.version} of {version.name} has no {CHECKPOINT} that can be read in {version.source}: "
                f"{str(error).splitlines()[0]}"
            ) from error


def fetch(version: ModelVersion, folder: str) -> Path:
    """Fetch the files of a version's network, of one from before it was a model those of its run; return where they lie."""
    download = mlflow.artifacts.download_artifacts
    if version.source.startswith(MODEL):
        return Path(download(f"{MODEL}{version.name}/{version.version}/{FILES}", dst_path=folder))
    there = {Path(file.path).name for file in mlflow.artifacts.list_artifacts(artifact_uri=version.source)}
    for name in (CHECKPOINT, *({CALIBRATION} & there)):
        download(f"{version.source}/{name}", dst_path=folder)
    return Path(folder)


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
    """Make a run a version of a registered model and its champion; return it, and whether it is new.

    A run has one version as long as its calibration is the same: it is a part of the model. Raises `UserError` where the
    run has no checkpoint.
    """
    client, run_id = connect(), run.info.run_id
    digest = calibration_digest(run)
    found = [
        version
        for version in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        if version.source.startswith(MODEL) and version.tags.get(CALIBRATION_DIGEST) == digest
    ]
    version = found[0] if found else make_version(run, sweep, name, digest)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    client.set_tag(run_id, REGISTERED, name)
    return version, not found


def calibration_digest(run: Run) -> str:
    """Return what tells a run's calibration from another one; `none` where it has none."""
    with artifact(run, CALIBRATION) as path:
        return "none" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def make_version(run: Run, sweep: str, name: str, digest: str) -> ModelVersion:
    """Log a run's network as a model, and make it the next version of a registered one, which is created if need be."""
    client, run_id = connect(), run.info.run_id
    model_id = log_model(run, name)
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=ABOUT.format(name=name))
    split = "test" if run.data.params[SELECTION_SPLIT] == "test" else "val"  # whose error it is
    tags = {
        "run_id": run_id,
        "sweep": sweep,
        f"{split}_mae": f"{run.data.metrics[BY_IMAGE]:.6f}",
        "selection": selection(run.data.params[SELECTION_SPLIT]).chosen,
        "protocol": run.data.params["protocol"],
        "code_version": run.data.tags.get(CODE_VERSION, ""),
        CALIBRATION_DIGEST: digest,
    } | ({f"{split}_mae_groups": f"{run.data.metrics[OBJECTIVE]:.6f}"} if OBJECTIVE in run.data.metrics else {})
    version = client.create_model_version(name, f"{MODEL}{model_id}", run_id, tags=tags, model_id=model_id)
    there = [{"name": name, "version": version.version}]
    client.set_logged_model_tags(
        model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(there)}
    )  # of the model as the UI links it
    return version

"""Which trials of a store count as decided: by their tag, and with files that are there."""

from pathlib import Path

import mlflow
import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from bel.run_layout import CHECKPOINT, OUTCOME, PARENT, TRIAL, Outcome
from launch.tracking.store import FILES, has_files, read


@pytest.fixture
def trial(store):
    """A finished trial with its files: parent run, trial, and the folder of its files."""
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("stored")
    parent = client.create_run(experiment)
    run = client.create_run(experiment, tags={PARENT: parent.info.run_id, TRIAL: "k", OUTCOME: Outcome.FINISHED.value})
    client.set_terminated(run.info.run_id)
    folder = Path(local_file_uri_to_path(run.info.artifact_uri))
    folder.mkdir(parents=True)
    for name in (*FILES, CHECKPOINT):
        (folder / name).write_bytes(b"here")
    return parent, client.get_run(run.info.run_id), folder


@pytest.mark.parametrize("lost", ["file", "link", "folder"])
def test_a_file_without_its_content_is_not_there(trial, lost):
    _, run, folder = trial
    assert has_files(run, Outcome.FINISHED)
    (folder / CHECKPOINT).unlink()
    if lost == "link":
        (folder / CHECKPOINT).symlink_to(folder / "nowhere")
    elif lost == "folder":
        (folder / CHECKPOINT).mkdir()
    assert not has_files(run, Outcome.FINISHED)


def test_a_trial_is_decided_by_its_tag_and_not_by_its_status(trial):
    parent, run, _ = trial
    assert read(run.info.experiment_id, "", parent, True).known["k"][1] is Outcome.FINISHED
    for outcome in ("a later version's", None):
        client = mlflow.MlflowClient()
        client.set_tag(run.info.run_id, OUTCOME, outcome) if outcome else client.delete_tag(run.info.run_id, OUTCOME)
        assert not read(run.info.experiment_id, "", parent, True).known

"""The images of a run, as MLflow shows them in the column Dataset."""

import json

from mlflow.tracking import MlflowClient

from tests.conftest import children


def test_the_images_of_a_run_are_its_data_set(swept_store):
    _, trials = children("fixture")
    for run in (MlflowClient().get_run(trial.info.run_id) for trial in trials):
        (given,) = run.inputs.dataset_inputs
        facts = run.data.params
        assert given.dataset.name == "biwi"
        assert given.dataset.digest == f"{facts['data_digest'][:12]}-{facts['split_hash'][:12]}"
        counts = {name: int(facts[name]) for name in ("train_images", "val_images", "val_groups")}
        assert json.loads(given.dataset.profile) == counts
        assert json.loads(given.dataset.source)["data_root"] == facts["data_root"]
        assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training and selection")]

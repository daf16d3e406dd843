"""What an evaluation predicted comes back from its file as it was, and means what it says."""

import json

import mlflow
import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from bel.errors import UserError
from bel.heads import HEADS
from bel.run_layout import PREDICTIONS, SWEEP_FILE
from bel.training.evaluate import Evaluation
from bel.training.posterior import summary
from results.store import predictions
from results.store.runs import fetch_predictions, section_of
from results.store.ui_links import varied_parameters


@pytest.fixture
def config(make):
    return make(code="hex16", code_bits=76)


def some(config, count=40):
    """An evaluation of random outputs of a real head, with its outputs."""
    generator = torch.Generator().manual_seed(0)
    head = HEADS["bel"].build(4, config)
    low, span = (
        torch.tensor([getattr(axis, name) for axis in config.axes], dtype=torch.float64) for name in ("low", "span")
    )
    targets = low + span * torch.rand(count, len(config.axes), generator=generator, dtype=torch.float64)
    outputs = [5 * torch.randn(count, head.bits.out_features, generator=generator) for head in head.axis_heads()]
    wrong = dict(zip([axis.name for axis in config.axes], head.wrong_bits(outputs, targets), strict=True))
    posterior = summary(head.posteriors(outputs), targets, config.axes)
    names = [f"{i:03}.png" for i in range(count)]
    groups = [f"g{i % 7}" for i in range(count)]
    read = head.decode(outputs)
    return Evaluation(config.axes, names, groups, targets, read, True, posterior, wrong), head, outputs


def test_a_file_holds_what_was_evaluated(config, tmp_path):
    evaluation, _, _ = some(config)
    predictions.write(evaluation, tmp_path / "p.parquet")
    found = predictions.read(tmp_path / "p.parquet")
    assert list(found.names) == evaluation.names and list(found.groups) == evaluation.groups
    assert found.axes == ["yaw", "pitch", "roll"] and found.decoders == ["expected", "argmax", "native"]
    for kind, values in ({"target": evaluation.targets} | evaluation.predictions | evaluation.posterior).items():
        assert (found.values[kind] == values.numpy()).all()
    for i, axis in enumerate(evaluation.axes):
        assert (found.levels[:, i] == axis.to_index(evaluation.targets[:, i]).numpy()).all()
        assert (found.wrong_bits[axis.name] == evaluation.wrong_bits[axis.name].numpy()).all()
    assert found.mean_errors().mean() == pytest.approx(evaluation.mae("expected"), abs=1e-12)
    assert not predictions.read(tmp_path / "p.parquet", bits=False).wrong_bits


def test_means_by_group_are_means_over_the_images_of_each(config, tmp_path):
    evaluation, _, _ = some(config)
    predictions.write(evaluation, tmp_path / "p.parquet")
    found = predictions.read(tmp_path / "p.parquet")
    errors = found.errors("argmax")
    for group, means in zip(found.group_names, found.by_group(errors), strict=True):
        assert means == pytest.approx(errors[found.groups == group].mean(0))
    halves = [found.take(np.arange(20, 40)), found.take(np.arange(20))]
    whole = predictions.concatenated(halves)
    assert sorted(whole.names) == evaluation.names and whole.by_group(whole.errors()) == pytest.approx(
        found.by_group(found.errors())
    )
    with pytest.raises(UserError, match="an image twice"):
        predictions.concatenated([found, halves[0]])


def test_wrong_bits_are_those_that_differ_from_the_code_word(config):
    _, head, _ = some(config)
    target = torch.tensor([[axis.to_value(torch.tensor(k)).item() for axis in config.axes] for k in (3, 20)])
    words = [one.matrix[[3, 20]] for one in head.axis_heads()]
    right = [2 * word - 1 for word in words]
    assert not any(wrong.any() for wrong in head.wrong_bits(right, target))
    right[1][0, 5] *= -1
    wrong = head.wrong_bits(right, target)
    assert wrong[1].nonzero().tolist() == [[0, 5]] and not wrong[0].any() and not wrong[2].any()


def test_spread_and_place_of_a_posterior_of_known_shape(config):
    axes = config.axes
    flat = [torch.full((1, axis.levels), 1 / axis.levels, dtype=torch.float64) for axis in axes]
    target = torch.tensor([[axis.to_value(10.0) for axis in axes]], dtype=torch.float64)
    found = summary(flat, target, axes)
    for i, axis in enumerate(axes):
        assert found["std"][0, i].item() == pytest.approx(axis.step * ((axis.levels**2 - 1) / 12) ** 0.5)
        assert found["pit"][0, i].item() == pytest.approx(10.5 / axis.levels)
    sure = [torch.zeros(1, axis.levels, dtype=torch.float64).index_fill(1, torch.tensor(10), 1.0) for axis in axes]
    found = summary(sure, target, axes)
    assert found["std"].abs().max() < 1e-9 and (found["pit"] - 0.5).abs().max() < 1e-9


def test_a_calibrated_posterior_has_targets_spread_evenly(config):
    """Targets drawn from the posteriors themselves, evenly over the width of a level."""
    axes = config.axes[:1]
    generator = torch.Generator().manual_seed(1)
    posterior = (3 * torch.randn(4000, axes[0].levels, generator=generator, dtype=torch.float64)).softmax(-1)
    within = torch.rand(4000, 1, generator=generator, dtype=torch.float64) - 0.5
    target = axes[0].to_value(torch.multinomial(posterior, 1, generator=generator) + within)
    pit = summary([posterior], target, axes)["pit"][:, 0]
    counts = torch.histc(pit, 10, 0, 1)
    assert counts.sum() == 4000 and ((counts - 400).abs() < 80).all() and pit.mean() == pytest.approx(0.5, abs=0.02)


POSTERIOR = ("classification", "rlel", "soft_label", "mean_variance", "dldl_v2", "sord", "unimodal", "hl_gauss")
POSTERIOR += ("corn", "gaussian")


@pytest.mark.parametrize("head", sorted(set(HEADS) - {"bel"}))
def test_which_heads_have_a_posterior_and_none_of_these_bits(make, head):
    config = make(head=head, code=None)
    built = HEADS[head].build(4, config)
    outputs = built(torch.randn(5, 4))
    posteriors = built.posteriors(outputs)
    assert bool(posteriors) == (head in POSTERIOR) and built.wrong_bits(outputs, torch.zeros(5, 3)) == []
    assert all((p.sum(-1) - 1).abs().max() < 1e-9 and p.dtype == torch.float64 for p in posteriors)


def test_a_run_in_a_folder_of_any_name_has_its_predictions(config, store, tmp_path):
    evaluation, _, _ = some(config)
    client = mlflow.MlflowClient()
    place = (tmp_path / "my sweeps, été").as_uri()
    run = client.create_run(client.create_experiment("my sweep", artifact_location=place))
    assert fetch_predictions(run) is None
    predictions.write(evaluation, tmp_path / PREDICTIONS["val"])
    client.log_artifact(run.info.run_id, str(tmp_path / PREDICTIONS["val"]))
    assert list(fetch_predictions(run).names) == evaluation.names


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="holds no predictions of ours"):
        predictions.read(path)


def axis(**changes):
    return {"name": "yaw", "unit": "deg", "width": 1.0} | changes


MEANING = {"axes": [axis()], "unit": "deg", "decoders": ["expected"], "pose": False, "bits": {}}
COLUMNS = {"name": ["a"], "group": ["g"], "target_yaw": [1.0], "expected_yaw": [2.0], "level_yaw": [3]}


@pytest.mark.parametrize(
    ("meaning", "columns"),
    [
        ([], {}), (None, {}), ({}, {}), ({"axes": None}, {}), ({"axes": []}, {}), ({"axes": [None]}, {}), ({"axes": [{}]}, {}),
        ({"axes": [axis(width="1")]}, {}), ({"axes": [axis(name=["yaw"])]}, {}), ({"axes": [axis(name="roll")]}, {}),
        ({"decoders": []}, {}), ({"decoders": [1]}, {}), ({"decoders": ["argmax"]}, {}), ({"bits": []}, {}),
        ({"bits": {"yaw": "x"}}, {}), ({"bits": {"yaw": 10**9}}, {}), ({"pose": None}, {}), ({"unit": 1}, {}),
        ({}, {"target_yaw": ["x"]}), ({}, {"target_yaw": [None]}), ({}, {"level_yaw": [[1]]}), ({}, {"name": [None]}),
        ({"bits": {"yaw": 16}}, {"wrong_bits_yaw": [b"x"]}), ({"bits": {"yaw": 16}}, {"wrong_bits_yaw": [3]}),
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_is_one_line(tmp_path, meaning, columns):
    whole = MEANING | meaning if isinstance(meaning, dict) and meaning else MEANING if columns else meaning
    table = pyarrow.table(COLUMNS | columns, metadata={"bel": json.dumps(whole)})
    parquet.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(UserError, match=r"holds no predictions of ours: \w+: ") as caught:
        predictions.read(tmp_path / "p.parquet").mean_errors()
    assert "\n" not in str(caught.value)


def test_rows_that_take_no_room_are_not_laid_out(tmp_path):
    table = pyarrow.table({"name": pyarrow.nulls(10_000_000)}, metadata={"bel": json.dumps(MEANING)})
    parquet.write_table(table, tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match="it has 10000000 rows, more than"):
        predictions.read(tmp_path / "p.parquet")


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 5000, '{"search": [], "space": 1}', "\xff"])
def test_a_sweep_s_file_that_is_none_of_ours_is_no_section(store, tmp_path, content):
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("odd", artifact_location=(tmp_path / "odd").as_uri()))
    (tmp_path / SWEEP_FILE).write_text(content, encoding="latin-1")
    client.log_artifact(run.info.run_id, str(tmp_path / SWEEP_FILE))
    assert section_of(run, "search") == section_of(run, "space") == {}
    assert varied_parameters(run, [run]) == []

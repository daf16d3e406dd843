"""Every head in every format: the written file alone gives what torch gives, in degrees, for any batch size."""

import json
import math
import re
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from bel.angles import circular
from bel.config import TrainConfig
from bel.data.batches import constants, normalise
from bel.deploy.calibration import Calibration
from bel.deploy.module import atan2, hypot, log_ndtr, softplus
from bel.heads import HEADS
from bel.model import BACKBONES
from bel.output import Answer
from bel.training import checkpoint
from bel.training.build import build_model
from results.retest import export, loaded_checkpoint
from results.retest.loaded_checkpoint import fetch_state
from tests.conftest import children, working_in
from tests.results.conftest import state_of

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
CLOSE = 1e-3  # degrees
FIELDS = {"protocol": "biwi", "image_size": 32, "backbone": "tiny", "weights": "none", "device": "cpu"}
LENGTHS = {"low": 0.0, "high": 3.0, "levels": 30}


def tiny():
    """A trunk of one convolution: these tests are of heads and files."""
    pooled = (nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), *pooled, nn.Linear(32, 10))


@pytest.fixture(autouse=True)
def tiny_trunk(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny)


@pytest.fixture
def written(tmp_path):
    """A checkpoint file of a random network whose normalisations have moved, and the function that makes it."""

    def write(**fields):
        code = {"code": "u"} if fields.get("head", "bel") == "bel" else {}
        config = TrainConfig.make(FIELDS | code | fields)
        torch.manual_seed(5)
        model = build_model(config)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.2)
                layer.running_var.uniform_(0.5, 2)
        state = state_of(config, model)
        path = tmp_path / "made.pt"
        checkpoint.save(state, path)
        return path

    return write


def images(count):
    """Noise, which nothing in the command has seen."""
    return torch.randint(256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


def expected(state, pixels):
    """What bel-eval would read from these images: the network, its normalised input, the first decoder."""
    config = TrainConfig.make(state["config"] | {"weights": "none", "device": "cpu"})
    model = checkpoint.restore(state, config).eval()
    with torch.inference_mode():
        return next(iter(model.head.decode(model(normalise(pixels, config.layout))).values()))


def predict(to, path, pixels):
    """Predictions of a file by nothing but the library of its format."""
    if to == "onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["predictions"], {"images": pixels.numpy()})[0])
    if to == "pt2":
        return torch.export.load(path).module()(pixels)
    return torch.jit.load(path)(pixels)


def metadata(to, path):
    """What a file says of itself."""
    if to == "onnx":
        props = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
        texts = ("run_id", "decoder", "code_version")
        return {key: value if key in texts else json.loads(value) for key, value in props.items()}
    extra = {"metadata.json": ""}
    if to == "pt2":
        torch.export.load(path, extra_files=extra)
    else:
        torch.jit.load(path, _extra_files=extra)
    return json.loads(extra["metadata.json"])


SAME_DECODER = ("mean_variance", "dldl_v2", "sord", "unimodal", "hl_gauss", "or_cnn")  # as soft_label's, ordinal's
BY_HEAD = [pytest.param(h, marks=[pytest.mark.slow] if h in SAME_DECODER else []) for h in HEADS]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("to", SUFFIXES)
@pytest.mark.parametrize("head", BY_HEAD)
def test_a_file_alone_predicts_what_torch_predicts(written, tmp_path, capfd, recwarn, head, to):
    source = written(head=head)
    out = tmp_path / "new" / f"model{SUFFIXES[to]}"
    assert export.main(["--checkpoint", str(source), "--to", to, "--out", str(out)]) == 0
    printed = capfd.readouterr()
    assert printed.err == "" and not recwarn.list
    assert float(re.search(r"sizes \(1, 5\): (\S+), allowed 1e-03 deg\n", printed.out).group(1)) <= CLOSE
    assert [path.name for path in out.parent.iterdir()] == [out.name]

    state = checkpoint.load(source)
    for count in (1, 4, 7):
        got, want = predict(to, out, images(count)), expected(state, images(count))
        assert got.shape == (count, 3) and got.dtype == want.dtype == torch.float64
        assert (got - want).abs().max() <= CLOSE
        assert count == 1 or want.std(0).max() > 0 or head in ("classification", "ordinal")

    facts = metadata(to, out)
    assert facts["axes"] == ["yaw", "pitch", "roll"] and facts["units"] == ["deg"] * 3
    assert (facts["image_size"], facts["run_id"], facts["epoch"]) == (32, "", 3)
    assert facts["code_version"] == state["environment"]["code_version"]
    assert f"decoder {facts['decoder']}, epoch 3" in printed.out
    assert (facts["config"]["exif"], facts["config"]["center_crop"]) == ("ignore", "round"), "what images are to be"
    assert TrainConfig.make(facts["config"]).head == head and "data_root" not in facts["config"]
    if to != "torchscript":
        assert b"results/retest/export.py" not in out.read_bytes() and b"bel/deploy/module.py" not in out.read_bytes()


CIRCLE = {"name": "csv", "train": "labels.csv", "targets": {"roll": {"low": -180, "period": 360, "unit": "deg"}}}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("to", [to if to == "onnx" else pytest.param(to, marks=pytest.mark.slow) for to in SUFFIXES])
@pytest.mark.parametrize(
    "network", [{"code": "u"}, {"code": "j"}, {"head": "direct"}], ids=lambda fields: "-".join(fields.values())
)  # a circular mean, with a decoder of its own, and sine and cosine
def test_a_file_gives_angles_that_wrap(written, tmp_path, network, to):
    source, out = written(protocol=CIRCLE, **network), tmp_path / f"model{SUFFIXES[to]}"
    assert export.main(["--checkpoint", str(source), "--to", to, "--out", str(out)]) == 0
    got, want = predict(to, out, images(20)), expected(checkpoint.load(source), images(20))
    assert abs(circular(got - want, 360)).max() <= CLOSE
    assert got.min() >= -180 and got.max() < 180


FAST = [("bel", "torchscript"), ("gaussian", "onnx")]
POSTERIORS = [
    name for name in HEADS if name not in ("direct", "rotation6d", "stagewise", "hopenet", "ordinal", "or_cnn")
]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("head", "to"),
    [
        pytest.param(head, to, marks=() if (head, to) in FAST else pytest.mark.slow)
        for head in POSTERIORS
        for to in SUFFIXES
    ],
)
def test_a_file_of_a_calibrated_network_has_its_intervals(written, tmp_path, capfd, head, to):
    state = checkpoint.load(written(head=head))
    model = export.load_module(state, "calibrated")
    model.deployed.calibration = Calibration(0.9, model.axes, (1.5, 2.0, 2.5), (2.0, 1.0, 0.5))
    out = tmp_path / f"model{SUFFIXES[to]}"
    assert export.write_checked(model, to, out, Answer("text")) == 0, capfd.readouterr().err
    with torch.inference_mode():
        found, wanted = export.FORMATS[to].read(out)(images(3)), model.deployed.intervals(images(3))
    assert len(found) == 3 and all((x - y).abs().max() <= CLOSE for x, y in zip(found, wanted, strict=True))
    assert (found[1] < found[2]).all()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("to", SUFFIXES)
def test_the_printed_lines_of_use_work(written, tmp_path, capsys, to):
    with working_in(tmp_path):
        assert export.main(["--checkpoint", str(written(head="direct")), "--to", to]) == 0
        assert (tmp_path / "runs" / "export" / f"made{SUFFIXES[to]}").is_file()
        lines = capsys.readouterr().out.split("\n\n")[1]
        names = {"images": images(2).numpy() if to == "onnx" else images(2)}
        exec(lines, names)
    assert tuple(names["predictions"].shape) == (2, 3)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_run_and_its_sweep_give_the_best_trial(swept_store, capsys):
    parent, trials = children("fixture")
    best = min(trials, key=lambda run: run.data.metrics["val/best_mae_groups"])
    for run_id, to in ((best.info.run_id, "onnx"), (parent.info.run_id, "torchscript")):
        assert export.main(["--run-id", run_id, "--to", to]) == 0
        out = swept_store / "runs" / "export" / f"{best.info.run_id}{SUFFIXES[to]}"
        assert f"run {best.info.run_id}: resnet10, head {best.data.params['head']}" in capsys.readouterr().out
        assert metadata(to, out)["run_id"] == best.info.run_id
        assert (predict(to, out, images(6)) - expected(fetch_state(best), images(6))).abs().max() <= CLOSE


def test_another_unit_is_compared_as_a_part_of_its_range(written, tmp_path, capsys):
    with_units = {"left": LENGTHS | {"unit": "cm"}, "right": LENGTHS}
    protocol = {"name": "csv", "train": "labels.csv", "targets": with_units}
    assert (
        export.main(["--checkpoint", str(written(protocol=protocol)), "--to", "pt2", "--out", str(tmp_path / "m")]) == 0
    )
    out = capsys.readouterr().out
    assert "float64 (batch, 2): left (cm), right (own unit)" in out and "or as much of a range of 200" in out


def test_a_batch_that_was_normalised_before_leaves_no_trace(written, tmp_path):
    constants.cache_clear()
    with torch.inference_mode():  # as evaluation does; what it makes cannot be exported
        normalise(images(1), torch.contiguous_format)
    assert export.main(["--checkpoint", str(written()), "--to", "pt2", "--out", str(tmp_path / "m.pt2")]) == 0


def test_a_file_that_predicts_otherwise_is_not_kept(written, tmp_path, monkeypatch, capsys):
    def off(path):
        right = torch.jit.load(path)
        return lambda pixels: right(pixels) + torch.tensor([0, 0, 2e-3])

    source, out = written(), tmp_path / "kept" / "m.pt"
    out.parent.mkdir()
    out.write_text("old")
    for read in (off, lambda path: lambda pixels: torch.full((len(pixels), 3), math.nan)):
        monkeypatch.setitem(export.FORMATS, "torchscript", replace(export.FORMATS["torchscript"], read=read))
        assert export.main(["--checkpoint", str(source), "--to", "torchscript", "--out", str(out)]) == 1
        err = capsys.readouterr().err.strip()
        assert err.startswith("error: torchscript predicts otherwise than torch") and "\n" not in err
        assert [path.read_bytes() for path in out.parent.iterdir()] == [b"old"]


def test_what_a_format_cannot_say_is_one_line(written, tmp_path, monkeypatch, capsys):
    def fail(deployed, pixels, facts, path):
        path.write_text("a part")
        raise RuntimeError("no such operator\nat a line")

    monkeypatch.setitem(export.FORMATS, "pt2", replace(export.FORMATS["pt2"], write=fail))
    out = tmp_path / "new" / "m.pt2"
    assert export.main(["--checkpoint", str(written()), "--to", "pt2", "--out", str(out)]) == 2
    err = capsys.readouterr().err.strip()
    assert "tiny with head bel cannot be written to pt2 (no such operator): choose another" in err and "\n" not in err
    assert not list(out.parent.iterdir())


def test_missing_packages_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert export.main(["--run-id", "0123", "--to", "onnx"]) == 2
    said = "error: export to onnx needs onnx, onnxscript and onnxruntime: pip install 'bel-sweeps[export]'\n"
    assert capsys.readouterr().err == said
    assert export.main(["--checkpoint", "none.pt", "--to", "pt2"]) == 2
    assert "no checkpoint at none.pt" in capsys.readouterr().err


def test_what_a_user_gets_wrong(swept_store, written, tmp_path, monkeypatch, capsys):
    source = str(written())
    parent, trials = children("fixture")
    cases = [
        (["--run-id", "0123", "--to", "pt2"], "no run '0123' in the MLflow store sqlite:"),
        (["--checkpoint", str(tmp_path / "none.pt"), "--to", "pt2"], "no checkpoint at"),
        (
            ["--checkpoint", source, "--to", "pt2", "--out", str(tmp_path)],
            "--out must be a new file, or one to replace",
        ),
        (["--checkpoint", source, "--to", "pt2", "--out", source], "is the checkpoint itself"),
        (["--checkpoint", source, "--to", "pt2", "--out", f"{source}/new/m.pt2"], "made.pt is a file"),
        (
            ["--run-id", parent.info.run_id, "--to", "pt2"],
            f"give the id of one of them, {trials[0].info.run_id} (biwi), ",
        ),
    ]
    find = loaded_checkpoint.find_runs
    monkeypatch.setattr(loaded_checkpoint, "find_runs", lambda run_id: find(run_id) and trials[:2])
    for arguments, says in cases:
        assert export.main(arguments) == 2, arguments
        err = capsys.readouterr().err.strip()
        assert says in err and "\n" not in err, (arguments, err)
    for arguments in (["--run-id", "0123", "--to", "coreml"], ["--run-id", "0123"], ["--to", "onnx"]):
        with pytest.raises(SystemExit, match="2"):
            export.main(arguments)


def test_the_functions_that_onnx_lacks_are_those_of_torch():
    x = torch.linspace(-300, 300, 60001, dtype=torch.float64)
    assert torch.allclose(softplus(x), torch.nn.functional.softplus(x), rtol=0, atol=1e-8)
    near = x[x < 8]
    assert torch.allclose(log_ndtr(near), torch.special.log_ndtr(near), rtol=1e-9, atol=1e-9)


def test_the_angle_that_onnx_computes_is_the_angle():
    turn = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)[1:]
    for length in (1e-6, 1.0):
        y, x = length * turn.sin(), length * turn.cos()
        assert torch.rad2deg(atan2(y, x) - torch.atan2(y, x)).abs().max() < 2e-5
        assert torch.allclose(hypot(x, y), torch.hypot(x, y), rtol=1e-12, atol=0)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for y, x in ((zero, zero), (zero, one), (one, zero), (-one, zero), (zero, -one)):
        assert atan2(y, x).item() == pytest.approx(torch.atan2(y, x).item(), abs=1e-6)

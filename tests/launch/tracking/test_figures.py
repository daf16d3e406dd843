"""The pictures of a trial: what is in them, and that what many trials share is drawn once."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import load
from bel.run_layout import CODE_FIGURE
from bel.training.build import build_model
from launch.tracking import figures as pictures
from launch.tracking.figures import draw_code, draw_curve, draw_labels

HISTORY = [
    {
        "val/mae": 9.0,
        "val/mae_yaw": 9.5,
        "val/mae_groups": 9.2,
        "val/mae_groups_yaw": 12.0,
        "val/best_mae": 9.0,
        "train/loss": 80.0,
        "lr": 1e-3,
        "epoch": 1,
    }
]


@pytest.fixture(autouse=True)
def drawings(monkeypatch):
    """The figures that are drawn in a test, which begins as a fresh process does."""
    monkeypatch.setattr(pictures, "DRAWN", {})
    figures, plain = [], FigureCanvasAgg.print_png
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda canvas, *a, **k: figures.append(canvas.figure) or plain(canvas, *a, **k)
    )
    return figures


def size(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.size


def test_a_code_is_drawn_once_for_all_trials_that_have_it(make, tmp_path, drawings):
    for i, fields in enumerate(({}, {"lr": 1e-2, "seed": 3}, {"code": "hex16"}, {"code_bits": 26})):
        draw_code(make(**fields), {}, tmp_path / f"{i}.png")
    files = [(tmp_path / f"{i}.png").read_bytes() for i in range(4)]
    assert files[0] == files[1] and len(set(files)) == 3 and len(drawings) == 3
    assert size(tmp_path / "0.png") == (1080, 360)
    assert drawings[2].axes[0].get_title() == "yaw: 26 levels x 26 bits"


def test_a_code_file_that_changed_is_drawn_anew(make, tmp_path, drawings):
    path = tmp_path / "c-{levels}.npy"
    for seed in (0, 1):
        config = make(code="u", code_bits=26)
        for levels in {axis.levels for axis in config.axes}:
            words = np.random.default_rng(seed).permutation(np.triu(np.ones((levels, levels), np.uint8)))
            np.save(str(path).format(levels=levels), words)
        draw_code(make(code=f"file:{path}", code_bits=26), {}, tmp_path / f"{seed}.png")
    assert len(drawings) == 2 and (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()


def test_a_learned_code_is_that_of_the_weights_and_no_code_has_no_picture(make, tmp_path, drawings):
    config = make(head="rlel", code=None, code_bits=26)
    for seed in (0, 1):
        torch.manual_seed(seed)
        draw_code(config, build_model(config).state_dict(), tmp_path / f"{seed}.png")
    assert len(drawings) == 2 and (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()
    draw_code(make(head="direct", code=None), {}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_labels_are_drawn_once_for_the_same_images_and_axes(make, tmp_path, drawings, monkeypatch):
    shown, plain = [], Axes.stairs
    monkeypatch.setattr(Axes, "stairs", lambda ax, counts, *a, **k: shown.append(counts) or plain(ax, counts, *a, **k))
    data, thinned = (load(make(frame_stride=stride), "train") for stride in (1, 2))
    for i, (config, part) in enumerate(
        [(make(), data), (make(lr=1e-2), data), (make(), thinned), (make(code_bits=26), data)]
    ):
        draw_labels(config, part, tmp_path / f"{i}.png")
    assert len(drawings) == 3 and size(tmp_path / "1.png") == (1080, 270)
    assert [counts.sum() for counts in shown] == [len(data)] * 3 + [len(thinned)] * 3 + [len(data)] * 3
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def curve(figure):
    """Lines of a learning curve by label, and the texts beside it."""
    (ax,) = figure.axes
    return {line.get_label(): line.get_ydata() for line in ax.lines}, [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_a_curve_shows_errors_and_loss(tmp_path, drawings, epochs):
    history = [HISTORY[0] | {"val/mae": 9.0 - i / 10, "train/loss": 80.0 / 2**i} for i in range(epochs)]
    draw_curve(history, tmp_path / "curve.png")
    lines, texts = curve(drawings[0])
    assert set(lines) == {"val/mae", "val/mae_groups", "val/mae_groups_yaw", "train/loss"}
    assert size(tmp_path / "curve.png") == (630, 360)
    assert list(lines["val/mae"]) == [h["val/mae"] for h in history]
    assert np.allclose(np.diff(lines["train/loss"], 2), 0), "halving is a straight line"
    assert "– 80" in texts and f"– {history[-1]['train/loss']:.3g}" in texts


@pytest.mark.parametrize("losses", [[0.0, 0.0], [3.0, 0.0], [5.0, 5.0], [1e-9, 1e9], [2e4, 150.0]])
def test_a_curve_of_any_loss_is_drawn(tmp_path, drawings, losses):
    draw_curve([HISTORY[0] | {"train/loss": loss} for loss in losses], tmp_path / "curve.png")
    heights = curve(drawings[0])[0]["train/loss"]
    assert all(0.04 < height < 0.96 for height in heights)
    assert (heights[0] > heights[1]) == (losses[0] > losses[1])


def test_a_curve_of_many_axes_is_drawn(tmp_path, drawings):
    draw_curve([HISTORY[0] | {f"val/mae_groups_{i}": float(i) for i in range(20)}] * 2, tmp_path / "curve.png")
    assert len(curve(drawings[0])[0]) == 24


def test_a_config_of_own_axes_has_pictures(small, tmp_path, drawings):
    protocol = {
        "name": "csv", "train": "a.csv", "test": "b.csv", "image": "file", "group": "group",
        "targets": {"age": {"low": 0, "high": 100, "levels": 100, "unit": "years"}},
    }  # fmt: skip
    config = TrainConfig.make(small | {"protocol": protocol, "code": "j"})
    draw_code(config, {}, tmp_path / CODE_FIGURE)
    assert size(tmp_path / CODE_FIGURE) == (360, 360)

import os
import pickle
import warnings

import numpy as np
import pytest
import torch
import torchvision

from bel.codes.library import code_matrix
from bel.deploy.published import is_published, layout, read
from bel.errors import UserError
from bel.training import checkpoint
from bel.training.build import build_model
from bel.training.checkpoint import read as read_file
from tests.conftest import PROJECT

LEVELS = {"yaw": 150, "pitch": 150, "roll": 100}  # BIWI at one level a degree
FORWARD = PROJECT / "tests/golden/forward.npz"
NETWORKS = {"bel_u": ("bel", "u"), "bel_hex16": ("bel", "hex16"), "classification": ("classification", None),
            "direct": ("direct", None)}  # fmt: skip


def shapes(head, code=None, backbone="resnet18", theta=10, levels=LEVELS):
    """Shape by name of a published state dict."""
    trunk = torchvision.models.get_model(backbone, weights=None)
    found = {name: value.shape for name, value in trunk.state_dict().items() if not name.startswith("fc.")}
    features, dot = trunk.fc.in_features, ".0" if head == "direct" else ""
    for axis, n in levels.items():
        bits = code_matrix(code, n).shape[1] if head == "bel" else n
        first = {"bel": theta, "direct": 1, "classification": n}[head]
        second = (1, features) if head == "direct" else (bits, theta)
        found |= {f"fc_angles_{axis}{dot}.weight": (first, features), f"fc_angles_{axis}{dot}.bias": (first,)}
        found |= {f"{axis}m{dot}.weight": second, f"{axis}m{dot}.bias": second[:1]}
    return found


def filled(by_name):
    """Tensors of these shapes with the values that the golden outputs were made with."""
    generator = torch.Generator().manual_seed(20220425)

    def value(name, shape):
        if name.endswith(("running_mean", "bias")):
            return torch.zeros(shape)
        if name.endswith("num_batches_tracked"):
            return torch.zeros(shape, dtype=torch.int64)
        if len(shape) == 1:
            return torch.ones(shape)
        return torch.randn(tuple(shape), generator=generator) * (2 / np.prod(shape[1:])) ** 0.5

    return {name: value(name, by_name[name]) for name in sorted(by_name)}


def stored(path, state):
    """The path of a file that holds `state`, and what it holds."""
    torch.save(state, path)
    return path, read_file(path)


def options(code=None, **others):
    return {"protocol": "biwi"} | ({"code": code} if code else {}) | others


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_state_dict_gives_the_published_outputs(network, tmp_path):
    head, code = NETWORKS[network]
    golden = np.load(FORWARD)
    state = filled(shapes(head, code, "resnet50"))
    assert sorted(state) == golden[f"{network}/keys"].tolist()
    config, model = read(*stored(tmp_path / "a.pth", state), options(code), {})
    assert sorted(layout(model, config)) == golden[f"{network}/keys"].tolist()
    assert (config.head, config.code, config.backbone, config.theta) == (
        head, code, "resnet50", 10 if head == "bel" else None,
    )  # fmt: skip
    assert (config.recipe, config.crop, config.selection) == ("published", "published", "test")
    with torch.inference_mode():
        images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        outputs = model.eval()(images)
    for axis, output in zip(config.axes, outputs, strict=True):
        expected = torch.from_numpy(golden[f"{network}/{axis.name}"])
        assert output.shape == expected.shape
        assert (output - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_trunk_follows_from_names_and_shapes(backbone, tmp_path):
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes("direct", backbone=backbone).items()}
    config, _ = read(tmp_path / "a.pth", state, options(), {})
    assert config.backbone == backbone


def test_a_file_of_data_parallel_and_of_the_old_format_is_the_same_network(tmp_path):
    state = filled(shapes("bel", "j", theta=7))
    path = tmp_path / "a.pth"
    torch.save({f"module.{name}": value for name, value in state.items()}, path, _use_new_zipfile_serialization=False)
    _, model = read(path, read_file(path), options("j"), {})
    ours = model.state_dict()
    assert torch.equal(ours["head.per_axis.roll.bits.weight"], state["rollm.weight"])
    assert torch.equal(ours["head.per_axis.yaw.bottleneck.weight"], state["fc_angles_yaw.weight"])
    assert torch.equal(ours["trunk.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_another_number_of_levels_and_other_settings_are_honoured(tmp_path):
    levels = {"yaw": 76, "pitch": 76, "roll": 52}
    path, loaded = stored(tmp_path / "a.pth", filled(shapes("bel", "j", levels=levels)))
    config, _ = read(path, loaded, options("j", code_bits="76"), {"crop": "frame", "image_size": 64})
    assert [axis.levels for axis in config.axes] == [76, 76, 52]
    assert (config.crop, config.image_size) == ("frame", 64)


def test_what_does_not_fit_is_named(tmp_path):
    u, direct = filled(shapes("bel", "u")), filled(shapes("direct"))
    classes = filled(shapes("classification"))
    cases = [
        ({k: v for k, v in u.items() if k != "yawm.weight"}, options("u"), "1 missing: yawm.weight: give"),
        ({k: v for k, v in u.items() if "conv1.weight" not in k}, options("u"),
         "9 missing: conv1.weight, layer1.0.conv1.weight, layer1.1.conv1.weight, ...:"),
        (u | {"other.weight": torch.ones(1)}, options("u"), "1 unexpected: other.weight: give"),
        (u | {"bn1.bias": torch.ones(3)}, options("u"), "1 of another shape: bn1.bias (3,) instead of (64,)"),
        (u, options("j"), "code j, theta 10, 150/150/100 levels, trunk resnet18: 6 of another shape: yawm.weight (150, 10) "
         "instead of (75, 10), yawm.bias (150,) instead of (75,), pitchm.weight"),
        (u, options("u", code_bits=76), "yawm.weight (150, 10) instead of (76, 10)"),
        (u, options("u") | {"protocol": "aflw2000"}, "yawm.weight (150, 10) instead of (200, 10)"),
        (u, {"code": "u"}, "does not say its protocol: add --protocol, one of ['aflw2000', 'biwi']"),
        (u, options("u") | {"protocol": "csv"}, "must be one of ['aflw2000', 'biwi'], got 'csv'"),
        (u, options(), "has head bel and does not say its code: add --code, one of ['u', 'j', "),
        (u, options("x"), "code of head bel must be one of"),
        (u, options("u", code_bits="many"), "code_bits must be a whole number"),
        (direct, options("u"), "has head direct, which has no code: leave --code out"),
        (direct, options(code_bits=150), "not to direct: leave code_bits out"),
        ({k: v for k, v in direct.items() if k != "rollm.0.bias"}, options(), "1 missing: rollm.0.bias"),
        (classes, options("u"), "has head classification, which has no code"),
        (classes | {"fc_angles_yaw.bias": torch.ones(66)}, options(), "fc_angles_yaw.bias (66,) instead of (150,)"),
        (u | {"epoch": 3}, options("u"), "'epoch' is of type int; save model.state_dict() alone"),
        ({"state_dict": u}, options("u"), "'state_dict' is of type dict; save"),
        ({"conv1.weight": u["conv1.weight"]}, options("u"), "no name begins with fc_angles_, the first is 'conv1.weight'"),
        ({}, options("u"), "no name begins with fc_angles_, the first is None"),
        ([1, 2], options("u"), "holds a list, not a state dict"),
        (dict.fromkeys(checkpoint.KEYS), options("u"), "one of our own checkpoints, which says its protocol"),
    ]  # fmt: skip
    for state, given, says in cases:
        path, loaded = stored(tmp_path / "a.pth", state)
        with pytest.raises(UserError) as error:
            read(path, loaded, given, {})
        assert says in str(error.value) and "\n" not in str(error.value), (says, str(error.value))
        assert str(path) in str(error.value) or "code" in says or "must be" in says


class Code:
    """An object that runs code where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_code_in_a_file_is_never_run(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pth"
    write({"fc_angles_yaw.weight": Code()}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"^\S+ is not loaded: "):
            read_file(path)
    assert not (tmp_path / "unpickled").exists()


def test_a_file_that_is_none_is_said_in_a_line(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save({"x": torch.ones(9)}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:300])
    (tmp_path / "text.pth").write_text("hello world")
    (tmp_path / "empty.pth").touch()
    cases = {
        "module": "code or an object (torch.nn.modules.linear.Linear)", "half": "it is damaged", "text": "it is damaged",
        "empty": "it is damaged", "none": "no checkpoint at",
    }  # fmt: skip
    for name, says in cases.items():
        with pytest.raises(UserError) as error:
            read_file(tmp_path / f"{name}.pth")
        assert says in str(error.value) and "\n" not in str(error.value), str(error.value)


def test_our_own_weights_are_no_published_layout(make):
    state = build_model(make()).state_dict()
    assert not is_published(state) and not is_published({"weights": state}) and not is_published([1])
    assert is_published(filled(shapes("direct")))

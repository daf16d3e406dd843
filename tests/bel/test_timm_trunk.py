"""Trunks of timm: a ViT and a ConvNeXt keep the contract, have timm's own features, and train frozen in part."""

import os
import re
import subprocess
import sys

import pytest
import torch

from bel.config import TrainConfig
from bel.data.loading import load
from bel.errors import UserError
from bel.model import BACKBONES
from bel.testing import check
from bel.timm_trunk import MEAN, STD, TimmTrunk
from bel.training.build import build_model, optimiser_groups
from bel.training.loop import fit
from launch.identity import file_digests
from tests.conftest import PROJECT

timm = pytest.importorskip("timm")
VIT, CONVNEXT = "vit_tiny_patch16_224", "convnext_atto"
FROZEN = {VIT: r"patch_embed|pos_embed|blocks\.\d\.", CONVNEXT: r"stem|stages\.[01]\."}


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
def test_contract(name):
    check("backbones", f"timm:{name}")


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
def test_weights_of_a_file_give_the_features_of_timm(name, tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model(name, num_classes=7, **({"img_size": 64} if name == VIT else {})).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pt")
    config = config_of(name, image_size=64, weights=str(tmp_path / "whole.pt"))
    trunk = build_model(config).trunk.eval()
    assert isinstance(trunk, TimmTrunk)
    picture = torch.rand(2, 3, 64, 64)
    ours, theirs = (
        (picture - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        for mean, std in ((MEAN, STD), (whole.pretrained_cfg["mean"], whole.pretrained_cfg["std"]))
    )
    with torch.no_grad():
        features = whole.forward_head(whole.forward_features(theirs), pre_logits=True)
        torch.testing.assert_close(trunk(ours), features, rtol=1e-4, atol=1e-5)


def config_of(name, **more):
    """A config with a trunk of timm."""
    return TrainConfig.make({"head": "direct", "backbone": f"timm:{name}", "weights": "none"} | more)


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
def test_it_trains_and_what_is_frozen_stays(name, small):
    values = {"head": "bel", "code": "u", "backbone": f"timm:{name}", "freeze": FROZEN[name]}
    config = TrainConfig.make(small | values)
    first, second = (epoch.state()["weights"] for epoch in fit(config, load(config, "train")))
    names = [parameter for parameter, _ in build_model(config).named_parameters()]
    frozen = {name for name in names if re.match(FROZEN[config.backbone[5:]], name.removeprefix("trunk.body."))}
    assert frozen and len(frozen) < len(names)
    assert {name for name in names if torch.equal(first[name], second[name])} == frozen


def test_the_version_of_timm_is_part_of_what_identifies_a_trial():
    assert file_digests(config_of(CONVNEXT))["plugin_digest"] == f"timm {timm.__version__}"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"backbone": "timm:convnext_ato"}, "is none of timm .* such as .*'convnext_atto'"),
        ({"backbone": "timm:"}, "is none of timm"),
        ({"backbone": "nosuch"}, "backbone must be one of .*'timm:NAME'"),
        ({"freeze": "("}, r"freeze must be a regular expression, got '\('"),
        ({"recipe": "published"}, "recipe published is of a ResNet"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(values, says):
    with pytest.raises(UserError, match=says):
        config_of(CONVNEXT, **values)


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(UserError, match=r"freeze 'layer1' begins no name of a parameter .* like .*stem"):
        build_model(config_of(CONVNEXT, freeze="layer1"))


def test_names_are_those_of_the_trunks_own_library(monkeypatch):
    class Wrapped(torch.nn.Module):
        features = 4

        def __init__(self):
            super().__init__()
            self.trunk = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.trunk(images).mean((2, 3))

    monkeypatch.setitem(BACKBONES, "wrapped", Wrapped)
    config = TrainConfig.make({"head": "direct", "backbone": "wrapped", "weights": "none", "freeze": r"trunk\.weight"})
    model = build_model(config)
    optimiser_groups(model, config)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["trunk.trunk.weight"]


def test_images_that_a_model_does_not_take_are_refused():
    with pytest.raises(UserError, match=r"backbone timm:inception_v3 cannot be built for images of image_size 32"):
        build_model(config_of("inception_v3", image_size=32))


@pytest.mark.slow
def test_without_a_network_its_weights_are_refused_in_a_sentence():
    program = (
        "from bel.config import TrainConfig; from bel.training.build import build_model\n"
        "build_model(TrainConfig.make({'head': 'direct', 'backbone': 'timm:convnext_atto'}))"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "UserError: cannot get timm's weights for backbone timm:convnext_atto" in done.stderr

"""Trunks of the package timm, `timm:NAME`: any of its models, from normalised images to its pooled features."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bel.errors import UserError, sentence

PREFIX = "timm:"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # with which images are normalised here (ImageNet)


def library() -> ModuleType:
    """Return timm. Raises `UserError` where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UserError(
            "backbone timm:NAME needs the package timm: pip install 'bel-sweeps[timm]', or choose another backbone"
        ) from error
    return timm


def check_name(backbone: str) -> None:
    """Raise `UserError` where timm has no model of a name, with those that are near."""
    timm, name = library(), backbone.removeprefix(PREFIX)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=6, cutoff=0)
        raise UserError(
            f"backbone {backbone!r} is none of timm {timm.__version__}: choose one of its list_models(), such as {near}"
        )


def options(backbone: str, side: int) -> dict[str, Any]:
    """Return the arguments of `timm.create_model`: no classifier, and the size of images where a model is of one size."""
    fixed = library().get_pretrained_cfg(backbone.removeprefix(PREFIX)).fixed_input_size
    return {"model_name": backbone.removeprefix(PREFIX), "num_classes": 0} | ({"img_size": side} if fixed else {})


class TimmTrunk(nn.Module):
    """A model of timm without classifier: images (B, 3, S, S), normalised as ours are -> features (B, features)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: str, side: int) -> None:
        super().__init__()
        self.body = library().create_model(**options(backbone, side))
        with torch.inference_mode():
            self.features = self.body.eval()(torch.zeros(1, 3, side, side)).shape[1]
        own = self.body.pretrained_cfg
        mean, std = (torch.tensor(own[name]).view(3, 1, 1) for name in ("mean", "std"))
        self.register_buffer("scale", torch.tensor(STD).view(3, 1, 1) / std, persistent=False)
        self.register_buffer("shift", (torch.tensor(MEAN).view(3, 1, 1) - mean) / std, persistent=False)
        self.same = own["mean"] == MEAN and own["std"] == STD

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> features (B, features); normalised anew where the model's own mean and deviation differ."""
        features: Tensor = self.body(images if self.same else images * self.scale + self.shift)
        return features


def build(backbone: str, side: int) -> TimmTrunk:
    """Build a trunk for images of a size. Raises `UserError` where the model does not take them."""
    check_name(backbone)
    try:
        return TimmTrunk(backbone, side)
    except Exception as error:  # timm's models raise many kinds
        raise UserError(
            f"backbone {backbone} cannot be built for images of image_size {side}: {sentence(error)}"
        ) from error


def pretrained(backbone: str, side: int) -> Mapping[str, Tensor]:
    """Return timm's published weights, from its cache or the network. Raises `UserError` without either."""
    try:
        state: Mapping[str, Tensor] = library().create_model(**options(backbone, side), pretrained=True).state_dict()
    except Exception as error:  # no network, no published weights: timm and the hub raise many kinds
        raise UserError(
            f"cannot get timm's weights for backbone {backbone} ({sentence(error)}): fetch them once where there is a network "
            "(HF_HOME is their folder), or set weights to none or to a file with a state dict of the model"
        ) from error
    return state

"""The network: a trunk (torchvision's without its last linear layer, timm's, or a plug-in's) and a head."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from bel import timm_trunk
from bel.errors import UserError, absolute, one_of
from bel.heads import Head
from bel.tensor_file import read

WEIGHTS = ("imagenet", "none")
AUXILIARY = ("googlenet", "inception_v3")  # with several outputs in training


def weights_rule(weights: str) -> str:
    """Return what a trunk starts from, a file by its absolute path. Raises `UserError` where there is no such file."""
    if weights in WEIGHTS:
        return weights
    path = absolute("weights", weights)
    if not path.is_file():
        raise UserError(f"weights must be one of {list(WEIGHTS)} or a file, got {str(path)!r}")
    return str(path)


def resnet10() -> ResNet:
    """Build a ResNet with one basic block a stage: the small trunk of demos and tests, without published weights."""
    return ResNet(BasicBlock, [1, 1, 1, 1])


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    name: partial(torchvision.models.get_model, name, weights=None)
    for name in torchvision.models.list_models(module=torchvision.models)
    if name not in AUXILIARY
} | {"resnet10": resnet10}


def backbone_rule(backbone: str) -> None:
    """Raise `UserError` where there is no backbone of a name."""
    if backbone.startswith(timm_trunk.PREFIX):
        timm_trunk.check_name(backbone)
    else:
        one_of("backbone", backbone, [*BACKBONES, f"{timm_trunk.PREFIX}NAME"])


def build_trunk(backbone: str, side: int) -> tuple[nn.Module, int]:
    """Build a trunk for images (B, 3, side, side), without classifier; return it with its number of features.

    A module of a plug-in that has an attribute `features`, their number, gives features already. Raises `UserError` where
    the backbone cannot be built.
    """
    if backbone.startswith(timm_trunk.PREFIX):
        trunk = timm_trunk.build(backbone, side)
        return trunk, trunk.features
    module = BACKBONES[backbone]()
    given = getattr(module, "features", None)  # torchvision has modules of that name
    return module, given if isinstance(given, int) else drop_classifier(module, backbone)


class Model(nn.Module):
    """Trunk and head: normalised images (B, 3, H, W) -> one output (B, width) an axis, in fp32."""

    def __init__(self, trunk: nn.Module, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) -> outputs; the head computes in fp32 whatever the trunk does."""
        features = self.trunk(images)
        with torch.autocast(features.device.type, enabled=False):
            outputs: list[Tensor] = self.head(features.float())
        return outputs


class WithFeatures(nn.Module):
    """A network whose outputs are followed by the features (B, F) that its head sees, in fp32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) -> outputs of the head, then features."""
        features = self.model.trunk(images).float()
        with torch.autocast(features.device.type, enabled=False):
            return [*self.model.head(features), features]


def probe(trunk: nn.Module, backbone: str, side: int) -> None:
    """Raise `UserError` where a trunk fails on images (1, 3, side, side)."""
    try:
        with torch.inference_mode():
            trunk.eval()(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"backbone {backbone} does not take images of image_size {side}: {reason}") from error


def drop_classifier(trunk: nn.Module, name: str) -> int:
    """Replace the last linear layer by the identity and return its width of input."""
    linear = [path for path, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"backbone {name} has no linear classifier to replace by a head: choose another")
    parent, _, child = linear[-1].rpartition(".")
    layer = trunk.get_submodule(linear[-1])
    setattr(trunk.get_submodule(parent), child, nn.Identity())
    assert isinstance(layer, nn.Linear)
    return layer.in_features


def load_trunk(trunk: nn.Module, backbone: str, weights: str, side: int) -> None:
    """Load ImageNet weights or a file into a trunk without classifier. Raises `UserError` naming keys that do not fit."""
    if weights != "imagenet":
        state = file_weights(Path(weights))
    elif backbone.startswith(timm_trunk.PREFIX):
        state = timm_trunk.pretrained(backbone, side)
    else:
        state = imagenet_weights(backbone)
    trunk = trunk.body if isinstance(trunk, timm_trunk.TimmTrunk) else trunk
    own = trunk.state_dict()
    wrong = [key for key, value in own.items() if key in state and state[key].shape != value.shape]
    missing = [key for key in own if key not in state]
    if wrong or missing:
        raise UserError(
            f"weights {weights} do not fit backbone {backbone}: {len(missing)} keys missing, "
            f"{len(wrong)} of another shape, the first is {(missing + wrong)[0]}: choose the backbone they were made for"
        )
    trunk.load_state_dict({key: state[key] for key in own})


def imagenet_weights(backbone: str) -> Mapping[str, Tensor]:
    """Return torchvision's IMAGENET1K_V1 weights, from TORCH_HOME or the network. Raises `UserError` without either."""
    try:
        weights = torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"]
    except (ValueError, KeyError):
        raise UserError(f"torchvision has no ImageNet weights for backbone {backbone}: set weights to none") from None
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no network, a full disk, a damaged file: torch and urllib raise many kinds
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        name = weights.url.rsplit("/", 1)[-1]
        raise UserError(
            f"cannot get ImageNet weights for {backbone} ({error or type(error).__name__}): put a whole {name} into {folder}, "
            "set TORCH_HOME to a folder that may be written, or set weights to none or a file"
        ) from error
    return state


def file_weights(path: Path) -> Mapping[str, Tensor]:
    """Read the state dict of a whole torchvision model. Raises `UserError` where the file holds something else."""
    try:
        state = read(path)
    except UserError as error:
        raise UserError(f"weights must be a file that is a state dict: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(
            f"weights {path} is not a state dict (names to tensors): save model.state_dict() of a torchvision model"
        )
    return state


def weights_digest(weights: str) -> str:
    """Return the digest of the file of initial weights as twelve hex digits, or their name."""
    if weights in WEIGHTS:
        return weights
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:12]

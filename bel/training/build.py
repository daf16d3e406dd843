"""The network of a run, built from its config, and its optimiser: Adam by groups of parameters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS
from bel.model import Model, build_trunk, load_trunk, probe
from bel.timm_trunk import PREFIX


@dataclass(frozen=True)
class Group:
    """Parameters, their learning rate relative to the run's, and the number of Adam steps on the gradients of a batch."""

    parameters: list[nn.Parameter]
    factor: float
    steps: int = 1

    def adam(self, lr: float) -> torch.optim.Adam:
        """Return a new Adam; on a GPU a fused one, with its learning rate in memory, from which a CUDA graph reads it."""
        device = self.parameters[0].device
        if device.type != "cuda":
            return torch.optim.Adam(self.parameters, lr=self.factor * lr)
        rate = torch.tensor(self.factor * lr, device=device)
        return torch.optim.Adam(self.parameters, lr=rate, fused=True, capturable=True)


def fits(group: Group, state: dict[str, Any]) -> bool:
    """Return whether an Adam state has the moments of each parameter of a group, or none, as before the first step."""
    moments = state.get("state")
    if not isinstance(moments, dict) or not moments.keys() <= set(range(len(group.parameters))):
        return False
    shapes = [{"step": (), "exp_avg": p.shape, "exp_avg_sq": p.shape} for p in group.parameters]
    return not moments or [shapes_of(moments.get(number)) for number in range(len(shapes))] == shapes


def shapes_of(values: Any) -> dict[str, Any]:
    """Return the shapes of the floating-point tensors in a mapping, by name."""
    if not isinstance(values, dict):
        return {}
    return {
        name: value.shape for name, value in values.items() if isinstance(value, Tensor) and value.is_floating_point()
    }


class Optimiser:
    """One Adam for each group.

    The published training passes some parameters to Adam several times, which then steps them as often. Stepping the Adam of
    a group `steps` times on the same gradients is the same to the last bit.
    """

    def __init__(self, groups: Sequence[Group], lr: float) -> None:
        self.groups = [group for group in groups if group.parameters]
        self.restart(lr)

    def restart(self, lr: float) -> None:
        """Restart at a learning rate, without moments."""
        self.adams = [group.adam(lr) for group in self.groups]

    def set_rate(self, lr: float) -> None:
        """Set the learning rate of every group for this step."""
        for group, adam in zip(self.groups, self.adams, strict=True):
            own = adam.param_groups[0]
            if isinstance(own["lr"], Tensor):
                own["lr"].fill_(group.factor * lr)
            else:
                own["lr"] = group.factor * lr

    def zero_grad(self) -> None:
        """Delete the gradients of the last batch."""
        for adam in self.adams:
            adam.zero_grad()

    def step(self) -> None:
        """Step every group on the current gradients."""
        for group, adam in zip(self.groups, self.adams, strict=True):
            for _ in range(group.steps):
                adam.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of each group's Adam."""
        return [adam.state_dict() for adam in self.adams]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Load the moments of a state, also from another device; the settings of Adam stay those of this device.

        Raises `UserError` where the moments are not of these parameters.
        """
        if len(states) != len(self.groups) or not all(map(fits, self.groups, states)):
            raise UserError("the checkpoint holds no state of Adam for this network: it cannot be gone on from")
        for adam, state in zip(self.adams, states, strict=True):
            adam.load_state_dict({"state": state["state"], "param_groups": adam.state_dict()["param_groups"]})


def build_model(config: TrainConfig, initial: bool = True) -> Model:
    """Build the network of a config, its trunk from `config.weights` unless `initial` is false (for a checkpoint).

    Raises `UserError` where the trunk cannot take the config's images or weights.
    """
    trunk, features = build_trunk(config.backbone, config.image_size)
    refuse_no_match(config.freeze, trunk, config.backbone)
    if initial and config.weights != "none":
        load_trunk(trunk, config.backbone, config.weights, config.image_size)
    if initial:
        probe(trunk, config.backbone, config.image_size)
    return Model(trunk, HEADS[config.head].build(features, config))


def refuse_no_match(freeze: str | None, trunk: nn.Module, backbone: str) -> None:
    """Raise `UserError` where a pattern begins the name of no parameter of a trunk."""
    names = [own_name(name, backbone) for name, _ in trunk.named_parameters()]
    if freeze is not None and not any(re.match(freeze, name) for name in names):
        some = names[:: -(-len(names) // 12)]
        raise UserError(f"freeze {freeze!r} begins no name of a parameter of the trunk: they are like {some}")


def own_name(name: str, backbone: str) -> str:
    """Return the name that a parameter of a trunk has in its library."""
    return name.removeprefix("body.") if backbone.startswith(PREFIX) else name  # of `TimmTrunk`


def optimiser_groups(model: Model, config: TrainConfig) -> list[Group]:
    """Group parameters by learning rate and steps a batch; those with rate 0 are frozen and in no group."""
    grouped: dict[tuple[float, int], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor, steps = rate_and_steps(name, config)
        if factor:
            grouped.setdefault((factor, steps), []).append(parameter)
        else:
            parameter.requires_grad_(False)
    return [Group(parameters, factor, steps) for (factor, steps), parameters in grouped.items()]


def rate_and_steps(name: str, config: TrainConfig) -> tuple[float, int]:
    """Return a parameter's learning rate relative to the run's, and the number of Adam steps on a batch.

    The published training freezes conv1 and bn1 (but not the statistics of bn1), and passes each parameter of layer1 to
    layer4 to Adam three times, those of a shortcut four times.
    """
    head, published = HEADS[config.head], config.recipe == "published"
    if name.startswith("head."):
        factor = head.lr_factors.get(name.rpartition(".")[2], config.head_lr_factor)
        return factor, head.published_steps if published else 1
    if config.freeze is not None and re.match(config.freeze, own_name(name.removeprefix("trunk."), config.backbone)):
        return 0.0, 1
    if not published:
        return 1.0, 1
    if name.startswith(("trunk.conv1.", "trunk.bn1.")):
        return 0.0, 1
    return 1.0, 4 if ".downsample." in name else 3

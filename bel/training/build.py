"""The network of a run, built from its config, and the learning rates of its parameters."""

from torch import nn

from bel.config import TrainConfig
from bel.heads import HEADS
from bel.model import BACKBONES, Model, drop_classifier, load_trunk, probe
from bel.training.optimiser import Group


def build_model(config: TrainConfig, initial: bool = True) -> Model:
    """Build the network of a config, its trunk from `config.weights` unless `initial` is false (for a checkpoint).

    Raises `UserError` where the trunk cannot take the config's images or weights.
    """
    trunk = BACKBONES[config.backbone]()
    features = drop_classifier(trunk, config.backbone)
    if initial and config.weights != "none":
        load_trunk(trunk, config)
    if initial:
        probe(trunk, config)
    return Model(trunk, HEADS[config.head].build(features, config))


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
    if not published:
        return 1.0, 1
    if name.startswith(("trunk.conv1.", "trunk.bn1.")):
        return 0.0, 1
    return 1.0, 4 if ".downsample." in name else 3

"""A rotation from six numbers (Zhou et al.: On the Continuity of Rotation Representations, CVPR 2019; 6DRepNet, ICIP 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import euler_to_matrix, least_turned, matrix_to_euler
from bel.heads.base import Head, HeadConfig
from bel.heads.losses import LOSSES
from bel.precision import exact


def gram_schmidt(six: Tensor) -> Tensor:
    """Two vectors (B, 6) -> rotation (B, 3, 3) whose first columns they span (Zhou et al., section 4.2)."""
    first, second = six[..., :3], six[..., 3:]
    x = F.normalize(first, dim=-1)
    y = F.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


class Rotation6dHead(Head):
    """Yaw, pitch and roll together: six numbers, made a rotation, compared by the angle between rotations (6DRepNet)."""

    losses = ("geodesic",)
    pose_only = True
    bounded = False

    @classmethod
    def build(cls, features: int, config: HeadConfig) -> Head:
        """Build the head of a config on a trunk with `features` outputs."""
        return cls(features, config)

    def __init__(self, features: int, config: HeadConfig) -> None:
        super().__init__()
        assert config.loss is not None
        self.loss_name = config.loss
        names = [axis.name for axis in config.axes]
        self.order = [names.index(name) for name in ("yaw", "pitch", "roll")]  # of a pose's axes in the targets
        self.linear = nn.Linear(features, 6)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (B, features) -> two vectors (B, 6)."""
        return [self.linear(features)]

    def loss(self, outputs: list[Tensor], targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Outputs and targets in degrees (B, 3) -> scalar loss; an image has the mean of its weights (B, 3), if any."""
        true = euler_to_matrix(torch.stack([targets[:, i] for i in self.order], -1)).to(outputs[0].dtype)
        share = {} if weights is None else {"weights": weights.mean(-1).to(outputs[0].dtype)}
        return LOSSES[self.loss_name](gram_schmidt(outputs[0]), true, **share)

    def decode(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        """Outputs -> yaw, pitch, roll in degrees (B, 3), float64, the triple with the least |pitch| + |roll|."""
        euler = least_turned(matrix_to_euler(gram_schmidt(exact(outputs[0]))))
        return {"rotation": torch.stack([euler[:, self.order.index(i)] for i in range(3)], dim=-1)}

    def perfect_outputs(self, targets: Tensor) -> list[Tensor]:
        """The first two columns (B, 6) of the rotation."""
        return [euler_to_matrix(targets[:, self.order])[..., :2].mT.flatten(1)]

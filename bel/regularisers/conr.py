"""ConR (Keramati, Meng, Evans: Contrastive Regularizer for Deep Imbalanced Regression, ICLR 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bel.regularisers.base import Regulariser
from bel.regularisers.labels import label_distances

NEAR, PUSH, TEMPERATURE = 1.0, 0.01, 0.07  # levels within which labels are alike, push a level, of the similarities


def conr(
    features: Tensor,
    distances: Tensor,
    predicted: Tensor,
    weights: Tensor,
    near: float = NEAR,
    push: float = PUSH,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Features (n, F), distances of labels and of predictions (n, n) in levels, weights (n,) -> () (ConR, section 3.2).

    Positives of an image have labels within `near` of its own; negatives have not, but predictions have. As published each
    pair that is no positive adds 1 to the denominator, and an image without negatives counts 0; here one without positives
    does, too, where the published mean of nothing is not a number.
    """
    unit = F.normalize(features)
    cosine = unit @ unit.T / temperature
    own = torch.eye(len(features), dtype=torch.bool, device=features.device)
    positive, negative = (distances <= near) & ~own, (distances > near) & (predicted <= near)
    count = positive.sum(1)
    pushed = cosine + weights.log()[:, None] + (push * distances).to(cosine.dtype)
    others = (len(features) - count).to(cosine.dtype).log()[:, None]
    parts = [cosine.masked_fill(~positive, -torch.inf), pushed.masked_fill(~negative, -torch.inf), others]
    total = torch.cat(parts, 1).logsumexp(1, keepdim=True)
    each = torch.where(positive, total - cosine, 0).sum(1) / count.clamp(min=1)
    return (weights * each * negative.any(1)).mean()


class ConR(Regulariser):
    """Features near where labels are, and apart where labels differ though predictions are alike.

    Predictions are of the head's headline decoder; weights are those of `balance`.
    """

    weight = 4.0
    views = 2  # so that each image has a positive
    uses_predictions = True
    graph = False  # decoders of heads need not keep the rules of a CUDA graph

    def __call__(
        self, features: Tensor, targets: Tensor, predictions: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Features (n, F), targets and predictions in units (n, axes), weights (n,) -> ()."""
        assert predictions is not None
        apart, predicted = (label_distances(values, self.axes) for values in (targets, predictions))
        counted = torch.ones_like(features[:, 0]) if weights is None else weights.to(features.dtype)
        return conr(features, apart, predicted, counted)

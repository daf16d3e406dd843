"""Regularisers of a trunk's features by the targets of a batch, added to the loss of any head."""

from bel.errors import UserError, one_of
from bel.regularisers.base import Regulariser
from bel.regularisers.conr import ConR
from bel.regularisers.ordinal_entropy import OrdinalEntropy
from bel.regularisers.rank_n_contrast import RankNContrast
from bel.regularisers.ranksim import RankSim

REGULARISERS: dict[str, type[Regulariser]] = {
    "ordinal_entropy": OrdinalEntropy,
    "ranksim": RankSim,
    "conr": ConR,
    "rnc": RankNContrast,
}
NONE = "none"


def weight_rule(name: str, weight: float | None) -> float | None:
    """Return the weight of a regulariser, by default its source's. Raises `UserError` for a weight without a regulariser."""
    one_of("regulariser", name, (NONE, *REGULARISERS))
    if name == NONE and weight is not None:
        raise UserError(
            f"regulariser_weight belongs to a regulariser, and regulariser is none: leave regulariser_weight out, or choose "
            f"one of {list(REGULARISERS)}"
        )
    return weight if name == NONE or weight is not None else REGULARISERS[name].weight


__all__ = ["NONE", "REGULARISERS", "Regulariser", "weight_rule"]

"""Heads: what a trunk's features become, what each loss compares, and how decoders give predictions in units."""

from collections.abc import Mapping, Sequence
from typing import Any

from bel.codes.library import normal_code
from bel.errors import UserError, one_of
from bel.heads.base import BaseHead, Head, PerAxisHead, SingleAxisHead
from bel.heads.binary import BelHead
from bel.heads.classification import ClassificationHead, HopenetHead
from bel.heads.direct import DirectHead, GaussianHead
from bel.heads.distributions import (
    DldlV2Head,
    HlGaussHead,
    MeanVarianceHead,
    SoftLabelHead,
    SordHead,
    UnimodalHead,
)
from bel.heads.learned import RlelHead
from bel.heads.ordinal import CornHead, OrCnnHead, OrdinalHead
from bel.heads.rotation6d import Rotation6dHead
from bel.heads.stagewise import StagewiseHead
from bel.text import listed

HEADS: dict[str, type[BaseHead]] = {
    "bel": BelHead,
    "rlel": RlelHead,
    "direct": DirectHead,
    "classification": ClassificationHead,
    "hopenet": HopenetHead,
    "ordinal": OrdinalHead,
    "soft_label": SoftLabelHead,
    "rotation6d": Rotation6dHead,
    "stagewise": StagewiseHead,
    "mean_variance": MeanVarianceHead,
    "dldl_v2": DldlV2Head,
    "sord": SordHead,
    "unimodal": UnimodalHead,
    "hl_gauss": HlGaussHead,
    "or_cnn": OrCnnHead,
    "corn": CornHead,
    "gaussian": GaussianHead,
}

# Names of fields that only some heads use; those of plug-ins are added.
OPTIONS = dict.fromkeys(name for head in HEADS.values() for name in head.options)


def head_fields(name: str, given: Mapping[str, Any], published: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Return `loss` and all `OPTIONS` of a head: those given, else those published for the data, else the head's own.

    Raises `UserError` for a value that the head does not have.
    """
    kind, own = HEADS[name], HEADS[name].options
    for option in [option for option, value in given.items() if value is not None and option not in ("loss", *own)]:
        users = [user for user, head in HEADS.items() if option in head.options]
        raise UserError(f"{option} belongs to head {' or '.join(users)}, not to {name}: leave {option} out")
    defaults = dict.fromkeys(OPTIONS) | dict(own) | {option: published[option] for option in own if option in published}
    loss = kind.published_loss if recipe == "published" else None
    found = {"loss": loss or kind.losses[0]} | defaults
    found |= {option: value for option, value in given.items() if value is not None}
    if "code" in own and not callable(found["code"]):  # a function from levels to a matrix has no name
        found["code"] = normal_code(found["code"], f"code of head {name}")
    one_of(f"loss of head {name}", found["loss"], kind.losses)
    return found


def refuse_circles(name: str, circles: Sequence[str]) -> None:
    """Raise `UserError` where a head has no meaning on a circle, and some axes, given by name, have a period."""
    if circles and not HEADS[name].circular:
        others = [other for other, head in HEADS.items() if head.circular]
        raise UserError(
            f"head {name} has no meaning on a circle, and {listed(circles)} of the protocol has a period: choose a head of "
            f"{others}, or leave period out and give low and high"
        )


__all__ = ["HEADS", "OPTIONS", "BaseHead", "Head", "PerAxisHead", "SingleAxisHead", "head_fields", "refuse_circles"]

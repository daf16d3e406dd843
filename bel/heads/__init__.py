"""Heads: what a trunk's features become, what each loss compares, and how decoders give predictions in units."""

from bel.heads.base import BaseHead, Head, PerAxisHead, SingleAxisHead
from bel.heads.binary import BelHead
from bel.heads.classification import ClassificationHead, SoftLabelHead
from bel.heads.direct import DirectHead
from bel.heads.hopenet import HopenetHead
from bel.heads.learned import RlelHead
from bel.heads.ordinal import OrdinalHead
from bel.heads.rotation6d import Rotation6dHead
from bel.heads.stagewise import StagewiseHead

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
}

OPTIONS = tuple(
    dict.fromkeys(name for head in HEADS.values() for name in head.options)
)  # fields that only some heads use

__all__ = ["HEADS", "OPTIONS", "BaseHead", "Head", "PerAxisHead", "SingleAxisHead"]

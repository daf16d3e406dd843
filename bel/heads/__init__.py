"""Heads: what a trunk's features become, what each loss compares, and how outputs are read in units."""

from bel.heads.base import AxisHead, Head, Kind, PerAxis
from bel.heads.binary import BelAxis
from bel.heads.classification import ClassificationAxis, SoftLabelAxis
from bel.heads.direct import DirectAxis
from bel.heads.hopenet import HopenetAxis
from bel.heads.learned import LearnedAxis
from bel.heads.ordinal import OrdinalAxis
from bel.heads.rotation6d import Rotation6d
from bel.heads.stagewise import StagewiseAxis

HEADS: dict[str, type[Kind]] = {
    "bel": BelAxis,
    "rlel": LearnedAxis,
    "direct": DirectAxis,
    "classification": ClassificationAxis,
    "hopenet": HopenetAxis,
    "ordinal": OrdinalAxis,
    "soft_label": SoftLabelAxis,
    "rotation6d": Rotation6d,
    "stagewise": StagewiseAxis,
}

OPTIONS = tuple(dict.fromkeys(name for kind in HEADS.values() for name in kind.options))  # that not every head has

__all__ = ["HEADS", "OPTIONS", "AxisHead", "Head", "Kind", "PerAxis"]

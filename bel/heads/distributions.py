"""Distributions over levels: a softmax that is compared with a distribution around the label, or by its moments.

Every target is made of the signed distances of the levels to the label, and of nothing else of either.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from bel.angles import Axis, circular
from bel.heads.base import HeadConfig
from bel.heads.classification import ClassificationHead
from bel.heads.decoders import argmax


def distances(label: Tensor, levels: int, wraps: bool = False) -> Tensor:
    """Labels, float levels (B,) -> signed distances (B, levels) of all levels to them, on a circle the shorter way round."""
    apart = torch.arange(levels, dtype=label.dtype, device=label.device) - label[:, None]
    return circular(apart, levels) if wraps else apart


def gaussian_density(distance: Tensor, sigma: float) -> Tensor:
    """Distances (B, levels) -> the normal density at each level, normalised (DLDL, section III; DLDL-v2, equation 1)."""
    return (-0.5 * (distance / sigma) ** 2).softmax(-1)


def gaussian_bins(distance: Tensor, sigma: float) -> Tensor:
    """Distances (B, levels) -> the normal integral over each level's width, normalised (Imani & White, section 3)."""
    width = math.sqrt(2) * sigma
    mass = torch.erf((distance + 0.5) / width) - torch.erf((distance - 0.5) / width)
    return mass / mass.sum(-1, keepdim=True).clamp(min=1e-10)


def ordinal_softmax(distance: Tensor, phi: str) -> Tensor:
    """Distances (B, levels) -> softmax(-phi): phi is the distance (l1) or its square (l2) (SORD, section 3)."""
    return (-(distance.abs() if phi == "l1" else distance**2)).softmax(-1)


class DistributionHead(ClassificationHead):
    """A softmax over the levels whose labels lie between levels; those beyond the range count as the first or last level."""

    overfit = (5e-3, 300)

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.given = self.options_of(config)

    def distance(self, target: Tensor, output: Tensor) -> Tensor:
        """Targets in units (B,) -> signed distances (B, levels) of the levels to them, in the type of the output."""
        label = self.axis.to_level(target).to(output.dtype)
        label = label if self.axis.period else label.clamp(0, self.axis.levels - 1)
        return distances(label, self.axis.levels, bool(self.axis.period))

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The posterior mean, as published, the most probable level and the median."""
        return {"expected": self.expected(output), "argmax": argmax(output), "median": self.median(output)}


class SoftLabelHead(DistributionHead):
    """Label distribution learning: a Gaussian of `sigma` levels around the label, KL divergence, expectation.

    (Gao, Xing, Xie, Wu, Geng: Deep Label Distribution Learning with Label Ambiguity, IEEE TIP 2017, section III.)
    """

    losses = ("kl",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "sigma": 2.0}

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores and label distributions (B, levels)."""
        return output, gaussian_density(self.distance(target, output), self.given["sigma"])


class DldlV2Head(DistributionHead):
    """Label distributions as of `soft_label`, and `expectation_weight` times the absolute error of the expectation.

    (Gao, Zhou, Wu, Geng: Age Estimation Using Expectation of Label Distribution Learning, IJCAI 2018: DLDL-v2, section 3.)
    """

    losses = ("ce_l1",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "sigma": 2.0, "expectation_weight": 1.0}

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, label distributions, distances (B, levels), and the weight of the expectation's error."""
        distance = self.distance(target, output)
        return output, gaussian_density(distance, self.given["sigma"]), distance, self.given["expectation_weight"]


class SordHead(DistributionHead):
    """Soft labels that fall with the distance `phi` of a level to the label, or its square; cross-entropy.

    (Diaz, Marathe: Soft Labels for Ordinal Regression, CVPR 2019, section 3.) Distances are in levels.
    """

    losses = ("ce_distribution",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "phi": "l1"}

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores and label distributions (B, levels)."""
        return output, ordinal_softmax(self.distance(target, output), self.given["phi"])


class HlGaussHead(DistributionHead):
    """A histogram of a Gaussian of `sigma` levels around the label, cut off at the ends of the range; cross-entropy.

    (Imani, White: Improving Regression Performance with Distributional Losses, ICML 2018, section 3; the default sigma:
    Farebrother et al.: Stop Regressing, ICML 2024.) Where `soft_label` takes the density at a level, this takes the
    integral over its width, of which a label has the more the nearer it is, however small sigma.
    """

    losses = ("ce_distribution",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "sigma": 0.75}

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores and label distributions (B, levels)."""
        return output, gaussian_bins(self.distance(target, output), self.given["sigma"])


class MeanVarianceHead(DistributionHead):
    """Classification, and weights times the squared error of the expectation and the variance of the distribution.

    (Pan, Han, Shan, Chen: Mean-Variance Loss for Deep Age Estimation, CVPR 2018, section 3.) The published labels are
    whole; the expectation is compared with the label between levels, as it is what is decoded.
    """

    losses = ("mean_variance",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "mean_weight": 0.2, "variance_weight": 0.05}

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, levels, distances (B, levels), and the weights of mean and variance."""
        weights = self.given["mean_weight"], self.given["variance_weight"]
        return output, self.axis.to_index(target), self.distance(target, output), *weights


class UnimodalHead(DistributionHead):
    """A distribution that is concentrated on the label, and `unimodal_weight` times how far it is from having one peak.

    (Li et al.: Unimodal-Concentrated Loss: Fully Adaptive Label Distribution Learning, CVPR 2022, section 3.) The published
    labels are whole; here the concentration is about the label between levels, and the peak at the nearest level.
    """

    losses = ("unimodal",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "unimodal_weight": 1000.0}
    overfit = (1e-2, 1200)  # slow: the loss of a single peak holds the peak where it is

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, distances (B, levels), the weight of unimodality, and whether the first level follows the last."""
        return output, self.distance(target, output), self.given["unimodal_weight"], bool(self.axis.period)

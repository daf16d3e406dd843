"""The config of one training run: a frozen dataclass, checked as a whole when it is made."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

import torch

from bel.angles import Axis, with_levels
from bel.codes.library import code_digest
from bel.config_fields import ConfigFields
from bel.data.augment import Augmentation
from bel.data.groups import selection_rule
from bel.data.prepare.crops import exif_rule, margin_rule
from bel.data.protocols import Protocol, normal_form, protocol_of, published_fields
from bel.errors import UserError, absolute, convert_to, one_of, refuse_unknown, within
from bel.heads import HEADS, OPTIONS, head_fields, refuse_circles
from bel.model import weights_rule
from bel.regularisers import NONE, REGULARISERS, weight_rule


@dataclass(frozen=True)
class TrainConfig(ConfigFields):
    """One training run; every field is used, and `as_dict` of it rebuilds it. Raises `UserError` where it is not valid.

    Paths become absolute, because a worker of a sweep runs in another folder.
    """

    def __post_init__(self) -> None:
        """Convert, fill in what the head decides, and check every rule."""
        self._set({f.name: convert(f, getattr(self, f.name)) for f in fields(self)})
        for f in fields(self):
            check_field(f, getattr(self, f.name))
        self._complete_head()
        self._complete_data()
        self._check_recipe()
        self._set({name: str(absolute(name, getattr(self, name))) for name in ("data_root", "cache_dir")})
        self._set({"weights": weights_rule(self.weights)})

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _complete_head(self) -> None:
        """Fill in the options and the loss of the head, and the weight of the regulariser.

        Raises `UserError` for those that head or regulariser do not have.
        """
        head, given = HEADS[self.head], {name: getattr(self, name) for name in ("loss", *OPTIONS)}
        self._set(head_fields(self.head, given, self.definition.options, self.recipe))
        if head.pose_only and not self.definition.pose:
            raise UserError(
                f"head {self.head} is for poses, and protocol {self.protocol_name} is none: choose another head, or say "
                "pose: true where the targets are a head's yaw, pitch and roll"
            )
        refuse_circles(self.head, [axis.name for axis in self.definition.axes if axis.period])
        head.validate(self)
        self._set({"regulariser_weight": weight_rule(self.regulariser, self.regulariser_weight)})

    def _complete_data(self) -> None:
        """Fill in what crop and selection decide, and raise `UserError` where the protocol does not allow a value."""
        protocol, name = self.definition, self.protocol_name
        crop = protocol.choose_crop(name, self.crop, self.boxes)
        filled = {
            "crop": crop,
            "margin": margin_rule(self.margin, crop),
            "exif": exif_rule(self.exif, crop, self.recipe),
        }
        filled |= selection_rule(self.selection, self.val_fraction, self.folds, self.fold, self.split_seed)
        self._set(filled)
        protocol.check_augmentation(name, self.flip, self.rotate)

    def _check_recipe(self) -> None:
        """Raise `UserError` for a recipe or a schedule without what it needs."""
        if self.recipe == "published" and not self.backbone.startswith("resnet"):
            raise UserError(f"recipe published is of a ResNet, got backbone {self.backbone!r}: set recipe to clean")
        if (self.schedule == "drop") != (self.drop_epoch is not None):
            raise UserError("drop_epoch belongs to schedule drop, which needs it: give both of them or neither")
        if self.drop_epoch is not None and self.drop_epoch >= self.epochs:
            raise UserError(
                f"drop_epoch must be below epochs, {self.epochs}, got {self.drop_epoch}: lower it, or train longer"
            )

    @property
    def code_digest(self) -> str | None:
        """The digests of the code matrices of all axes; None for a head without a code."""
        return None if self.code is None else " ".join(code_digest(self.code, axis.levels) for axis in self.axes)

    @cached_property
    def definition(self) -> Protocol:
        """The protocol of the config."""
        return protocol_of(self.protocol)

    @property
    def protocol_name(self) -> str:
        """The name of the protocol."""
        return self.protocol if isinstance(self.protocol, str) else str(self.protocol["name"])

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of training images."""
        return Augmentation(**{f.name: getattr(self, f.name) for f in fields(Augmentation)})

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the protocol with the levels that `code_bits` asks for, or that the head has."""
        return HEADS[self.head].adapt_axes(with_levels(self.definition.axes, self.code_bits), self.definition.pose)

    @property
    def views(self) -> int:
        """How often a training batch has each image, each time augmented on its own."""
        return 1 if self.regulariser == NONE else REGULARISERS[self.regulariser].views

    @property
    def prepared_size(self) -> int:
        """Side of the prepared images: 240 for a network input of 224, so that random crops have room."""
        return round(self.image_size * 240 / 224)

    @property
    def layout(self) -> torch.memory_format:
        """torch's name for `memory_format`."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Return a config of fields by name, those of a published recipe included. Raises `UserError` for an unknown name."""
        refuse_unknown("config field", values, [f.name for f in fields(cls)])
        if values.get("recipe") != "published":
            return cls(**values)
        return cls(**(published_fields(values.get("protocol", cls.protocol), values) | dict(values)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return asdict(self)


def convert(f: Field[Any], value: Any) -> Any:
    """Convert a value to the type of its field; null may be text, and a word that the field takes stays. Raises `UserError`."""
    if f.name == "protocol":
        return normal_form(value)
    kinds = typing.get_args(HINTS[f.name]) or (HINTS[f.name],)
    if value in (None, "null") and type(None) in kinds:
        return None
    words = [word for kind in kinds[1:] if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]
    return convert_to(kinds[0], f.name, value, words)


def check_field(f: Field[Any], value: Any) -> None:
    """Raise `UserError` unless a converted value is one of its field's choices, or within its bounds."""
    bounds = f.metadata["bounds"]
    if f.metadata["choices"] is not None and value is not None:
        one_of(f.name, value, f.metadata["choices"])
    elif bounds != (-math.inf, math.inf) and not isinstance(value, str):  # a word instead of a number
        within(f.name, value, *bounds)


HINTS = typing.get_type_hints(TrainConfig)

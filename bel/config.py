"""The config of one training run: a frozen dataclass, checked as a whole when it is made."""

from __future__ import annotations

import itertools
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import torch

from bel.angles import Axis, with_levels
from bel.codes.library import code_digest
from bel.config_fields import FIELDS, HINTS, OWN, ConfigFields
from bel.data.augment import Augmentation
from bel.data.groups import selection_rule
from bel.data.prepare.crops import exif_rule, margin_rule
from bel.data.protocols import Protocol, normal_form, protocol_of, published_fields
from bel.errors import UserError, absolute, convert_to, one_of, refuse_unknown, within
from bel.heads import HEADS, OPTIONS, head_fields, refuse_circles
from bel.model import backbone_rule, weights_rule
from bel.plugins import registry
from bel.plugins.module import receive
from bel.regularisers import NONE, REGULARISERS, weight_rule


@dataclass(frozen=True)
class TrainConfig(ConfigFields):
    """One training run; every field is used, and `as_dict` of it rebuilds it. Raises `UserError` where it is not valid.

    Paths become absolute, because a worker of a sweep runs in another folder.
    """

    def __post_init__(self) -> None:
        """Convert, fill in what the head decides, and check every rule."""
        self._set({"plugins": registry.load(self.plugins)})
        self._set({f.name: convert(f, getattr(self, f.name)) for f in fields(self)})
        registry.refuse_unusable(vars(self))
        for f in fields(self):
            check_field(f, getattr(self, f.name))
        backbone_rule(self.backbone)
        check_pattern("freeze", self.freeze)
        self._complete_head()
        self._complete_data()
        self._check_recipe()
        self._set({name: str(absolute(name, getattr(self, name))) for name in ("data_root", "cache_dir")})
        self._set({"weights": weights_rule(self.weights)})
        self._set({"plugins": tuple(module.name for module in registry.used(vars(self))) or None})

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields and the source of the plug-ins, which another process may not have."""
        return {"values": {name: getattr(self, name) for name in OWN}, "sources": registry.sources(vars(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the fields, after the plug-ins."""
        receive(state["sources"])
        registry.load(state["values"]["plugins"])
        self._set(dict.fromkeys(OPTIONS) | state["values"] | (state["values"]["plugin_options"] or {}))

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _complete_head(self) -> None:
        """Fill in the options and the loss of the head, and the weight of the regulariser.

        Raises `UserError` for those that head or regulariser do not have.
        """
        head, given = HEADS[self.head], {name: getattr(self, name, None) for name in ("loss", *OPTIONS)}
        given |= self.plugin_options or {}
        found = head_fields(self.head, given, self.definition.options, self.recipe)
        self._set(found | {"plugin_options": {name: found[name] for name in head.new_fields} or None})
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
        check_restarts(self.restarts, self.schedule, self.epochs)

    def longer(self, epochs: int) -> TrainConfig:
        """Return the config with which a run of this one goes on to more epochs; a cosine begins anew after its last one.

        A run of it from the start has the same numbers. Raises `UserError` where `epochs` are not more.
        """
        if epochs <= self.epochs:
            raise UserError(f"epochs must be more than the {self.epochs} of the run that is to go on, got {epochs}")
        restarts = (*(self.restarts or ()), self.epochs) if self.schedule == "cosine" else None
        return replace(self, epochs=epochs, restarts=restarts)

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
        plugins = registry.load(values.get("plugins"))
        refuse_unknown("config field", values, FIELDS)
        values = {**nested(values), "plugins": plugins}
        if values.get("recipe") != "published":
            return cls(**values)
        return cls(**(published_fields(values.get("protocol", cls.protocol), values) | values))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return asdict(self)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those of fields that a plug-in brings in `plugin_options`."""
    own = {name: value for name, value in values.items() if name not in OWN}
    rest = {name: value for name, value in values.items() if name in OWN}
    return rest | ({"plugin_options": {**(rest.get("plugin_options") or {}), **own}} if own else {})


def convert(f: Field[Any], value: Any) -> Any:
    """Convert a value to the type of its field; null may be text, and a word that the field takes stays. Raises `UserError`."""
    if f.name == "protocol":
        return normal_form(value)
    if f.name == "plugins":
        return (value,) if isinstance(value, str) else tuple(value)
    if f.name == "plugin_options":
        return plugin_values(value)
    if f.name == "restarts":
        return whole_numbers(f.name, value)
    kinds = typing.get_args(HINTS[f.name]) or (HINTS[f.name],)
    if value in (None, "null") and type(None) in kinds:
        return None
    words = [word for kind in kinds[1:] if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]
    return convert_to(kinds[0], f.name, value, words)


def whole_numbers(name: str, value: Any) -> tuple[int, ...] | None:
    """Return whole numbers from a number, a list or its text, such as 10,30 or (10, 30); None for none. Raises `UserError`."""
    if value in (None, "null"):
        return None
    listed = value.strip("()[] ").rstrip(",").split(",") if isinstance(value, str) else value
    return (
        tuple(convert_to(int, name, one) for one in (listed if isinstance(listed, list | tuple) else [listed])) or None
    )


def check_restarts(restarts: tuple[int, ...] | None, schedule: str, epochs: int) -> None:
    """Raise `UserError` for restarts of another schedule than cosine, or that are not in order within the epochs."""
    if restarts is None:
        return
    if schedule != "cosine":
        raise UserError(f"restarts belong to schedule cosine, got schedule {schedule}: leave one of them out")
    bounds = (0, *restarts, epochs)
    if any(one >= after for one, after in itertools.pairwise(bounds)):
        raise UserError(
            f"restarts must rise from 1 on and be below epochs, {epochs}, got {','.join(map(str, restarts))}: "
            "lower them, or train longer"
        )


def plugin_values(value: Any) -> dict[str, Any] | None:
    """Return the values of a plug-in's own fields, converted and checked. Raises `UserError`."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UserError(f"plugin_options must be a mapping of the fields of a plug-in's head, got {value!r}")
    refuse_unknown("field of a plug-in", value, [name for name in FIELDS if name not in OWN])
    found = {name: convert(FIELDS[name], given) for name, given in value.items()}
    for name, given in found.items():
        check_field(FIELDS[name], given)
    return found


def check_pattern(name: str, pattern: str | None) -> None:
    """Raise `UserError` for what is no regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise UserError(f"{name} must be a regular expression, got {pattern!r}: {error}") from error


def check_field(f: Field[Any], value: Any) -> None:
    """Raise `UserError` unless a converted value is one of its field's choices, or within its bounds."""
    bounds = f.metadata["bounds"]
    if f.metadata["choices"] is not None and value is not None:
        one_of(f.name, value, f.metadata["choices"])
    elif bounds != (-math.inf, math.inf) and not isinstance(value, str):  # a word instead of a number
        within(f.name, value, *bounds)

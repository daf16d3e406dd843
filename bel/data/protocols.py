"""Evaluation protocols: axes of the target, sources for training and test; published ones, and tables of your own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bel.angles import Axis
from bel.data.readers.base import Source
from bel.data.readers.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.readers.table import table_source
from bel.data.readers.table_spec import parse_table
from bel.data.readers.w300lp import AFLW2000, W300LP
from bel.errors import UserError, convert_to, one_of
from bel.text import listed

CSV = "csv"  # the name of a protocol for your own data, which is a mapping
PARTS = ("train", "test")


@dataclass(frozen=True)
class Protocol:
    """Axes of the target, a train and a test source, and the published numbers of their images.

    `pose` says that the axes are yaw, pitch, roll of a head in the convention of `angles`, `crops` which crops its images
    have, the default first, and `has_boxes` that a table gives their boxes. `published` are the config fields of its
    published training (BEL), `options` those of a head that were published for this protocol (RLEL).
    """

    axes: tuple[Axis, ...]
    train: Source
    test: Source
    pose: bool = True
    crops: tuple[str, ...] = ("published", "frame", "boxes")
    has_boxes: bool = False
    images: tuple[int | None, int | None] = (None, None)
    published: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> Source:
        """Return the source of `train` or `test`."""
        return self.train if name == "train" else self.test

    def choose_crop(self, name: str, crop: str | None, boxes: str | None) -> str:
        """Return the crop, the protocol's first by default. Raises `UserError` where it does not fit, or lacks boxes."""
        crop = self.crops[0] if crop is None else crop
        one_of(f"crop of protocol {name}", crop, self.crops)
        if boxes is not None and crop != "boxes":
            raise UserError(f"boxes belongs to crop boxes, not to {crop}: leave boxes out, or set crop to boxes")
        if boxes is not None and self.has_boxes:
            raise UserError(f"boxes are given twice, by {boxes} and by protocol.box: leave one of them out")
        if crop == "boxes" and boxes is None and not self.has_boxes:
            raise UserError("crop boxes needs boxes, a CSV of stem,x0,y0,x1,y1, or a csv protocol with box columns")
        return crop

    def check_augmentation(self, name: str, flip: float, rotate: float) -> None:
        """Raise `UserError` for flips or rotations that the targets cannot follow."""
        unsigned = [axis.name for axis in self.axes if axis.flip is None]
        if flip and unsigned:
            raise UserError(
                f"flip needs axes with a known sign in a mirrored image: set flip to 0, or give {listed(unsigned)} of "
                f"protocol {name} its own (flip: 1 or -1)"
            )
        if rotate and not self.pose:
            raise UserError(f"rotate turns yaw, pitch and roll along, and {name} is no pose: set it to 0")


# What the published trainings of both protocols have in common.
PUBLISHED: dict[str, Any] = {
    "crop": "published", "backbone": "resnet50", "schedule": "drop", "selection": "test", "precision": "fp32",
}  # fmt: skip

PROTOCOLS: dict[str, Protocol] = {
    # BEL protocol 1: the whole of 300W_LP trains, AFLW2000-3D tests, angles within +-99 degrees.
    "aflw2000": Protocol(
        axes=(
            Axis("yaw", -99, 200, 200, flip=-1),
            Axis("pitch", -99, 200, 200, flip=1),
            Axis("roll", -99, 200, 200, flip=-1),
        ),
        train=W300LP,
        test=AFLW2000,
        crops=("published", "frame", "boxes", "landmarks"),
        images=(122_415, 1_969),
        published=PUBLISHED | {"lr": 1e-5, "batch_size": 16, "epochs": 20, "drop_epoch": 10, "flip": 0.5, "blur": 0.05},
        options={"distance_weight": 2.0, "difference_weight": 0.0},
    ),
    # BEL protocol 2: 16 or 17 BIWI sequences train, 7 test.
    "biwi": Protocol(
        axes=(
            Axis("yaw", -74, 150, 150, flip=-1),
            Axis("pitch", -65, 150, 150, flip=1),
            Axis("roll", -55, 100, 100, flip=-1),
        ),
        train=BIWI_TRAIN,
        test=BIWI_TEST,
        images=(11_031, 4_647),
        published=PUBLISHED | {"lr": 1e-4, "batch_size": 8, "epochs": 50, "drop_epoch": 30},
        options={"distance_weight": 0.5, "difference_weight": 1.0},
    ),
}


def normal_form(value: Any) -> str | dict[str, Any]:
    """Return a protocol as a config holds it: the name of a published one, or a checked mapping with all its defaults.

    Raises `UserError` for anything else.
    """
    if isinstance(value, Mapping):
        if value.get("name") != CSV:
            raise UserError(
                f"protocol as a mapping must have the name {CSV}, got {value.get('name')!r}: add name: {CSV}"
            )
        return parse_table(value).as_dict()
    if value == CSV:
        raise UserError(f"protocol {CSV} is a mapping of name, train and targets: see sweeps/csv_example.yaml")
    if not isinstance(value, str) or value not in PROTOCOLS:
        raise UserError(
            f"protocol must be one of {list(PROTOCOLS)}, or a mapping as in sweeps/csv_example.yaml (for bel-data in a .json "
            f"file), got {value!r}"
        )
    return str(value)


def protocol_of(value: str | Mapping[str, Any]) -> Protocol:
    """Return the protocol of a config's value."""
    if not isinstance(value, Mapping):
        return PROTOCOLS[value]
    spec = parse_table(value)
    train, test = table_source(spec, "train"), table_source(spec, "test")
    crops = ("boxes", "frame") if spec.box else ("frame", "boxes")
    return Protocol(spec.axes, train, test, pose=spec.pose, crops=crops, has_boxes=bool(spec.box))


def published_names() -> list[str]:
    """Return the names of the protocols with a published training."""
    return [name for name, protocol in PROTOCOLS.items() if protocol.published]


def published_fields(value: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config fields of a protocol's published training, adjusted to those that are given, without these.

    Raises `UserError` for a protocol without a published training.
    """
    protocol = normal_form(value)
    published = protocol_of(protocol).published
    if not published:
        other = protocol if isinstance(protocol, str) else "one's own"
        raise UserError(
            f"recipe published is of the protocols {published_names()}, not of {other}: set recipe to clean"
        )
    fitted = {**published, **adjusted(published, given)}
    return {name: field for name, field in fitted.items() if name not in given}


def adjusted(published: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how given fields change those of a published training: when its rate drops, and its selection."""
    found: dict[str, Any] = {}
    epochs = convert_to(int, "epochs", given.get("epochs", published["epochs"]))
    if given.get("schedule", "drop") != "drop":
        found["drop_epoch"] = None
    elif epochs < 2 or given.get("drop_epoch", "") in (None, "null"):  # no epoch is left for the drop
        found |= {"drop_epoch": None, "schedule": "constant"}
    elif epochs <= published["drop_epoch"]:  # after the same share of the epochs
        found["drop_epoch"] = max(1, epochs * published["drop_epoch"] // published["epochs"])
    if any(given.get(name) not in (None, "null", 0, "0") for name in ("val_fraction", "folds", "fold", "split_seed")):
        found["selection"] = "val"
    return found

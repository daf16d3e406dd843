"""The fields of one training run: name, type, default, the sentence of `--help`, and choices or bounds of each."""

import math
import typing
from collections.abc import Collection
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal

from bel.angles import MOST_LEVELS
from bel.data.balance import BALANCES
from bel.data.prepare.crops import CENTERS, CROPS
from bel.errors import TINY
from bel.heads import HEADS
from bel.regularisers import NONE, REGULARISERS


def option(
    default: Any, text: str, choices: Collection[str] | None = None, low: float = -math.inf, high: float = math.inf
) -> Any:
    """A field with its default, the sentence that documents it in `--help`, its choices, and its bounds, both included."""
    return field(default=default, metadata=described(text, choices, low, high))


def described(text: str, choices: Collection[str] | None, low: float, high: float) -> dict[str, Any]:
    """Return what a field says of itself."""
    return {"help": text, "choices": choices, "bounds": (low, high)}


@dataclass(frozen=True)
class ConfigFields:
    """All fields in the order of `--help`; `bel.config.TrainConfig` has the rules between them."""

    protocol: str | dict[str, Any] = option("biwi", "data, axes and their ranges; a mapping for own data")
    data_root: str = option("datasets", "folder that holds BIWI/, or 300W_LP/ and AFLW2000/")
    cache_dir: str = option("runs/prepared", "folder of the prepared image arrays")
    crop: str | None = option(None, f"part of each image: {', '.join(CROPS)}; default: the protocol's own")
    margin: float | None = option(
        None, "share of the box that crop boxes (0) or landmarks (0.3) adds on every side", low=0, high=10
    )
    boxes: str | None = option(None, "CSV of stem,x0,y0,x1,y1 for crop boxes, below data_root")
    on_missing: str = option(
        "error", "what to do about images that cannot be used: error, or skip and count them", choices=("error", "skip")
    )
    exif: str | None = option(None, "turn images as their EXIF says: apply, or ignore (default of what is published)")
    center_crop: str = option(
        "round", "corner of evaluation's crop: rounded as by torchvision, or floor (as before)", choices=CENTERS
    )
    image_size: int = option(
        224, "side of the network's input in pixels; images are prepared 15/14 as large", low=32, high=4096
    )
    frame_stride: int = option(
        1, "use every n-th listed training frame, to train and to select; the test split is always whole", low=1
    )
    val_fraction: float | None = option(
        None, "share of the training groups that selects, without folds; default 0.2", low=TINY, high=0.9
    )
    folds: int | None = option(
        None, "number of folds of the training groups (sequences, photographs); default: none", low=2
    )
    fold: int | None = option(None, "which of the folds selects, from 0; default 0")
    split_seed: int = option(0, "draw of the selection groups", low=0, high=2**31)
    selection: str = option(
        "val",
        "epoch that is kept: best on val, the last, or best on test, a published accident",
        choices=("val", "last", "test"),
    )
    recipe: str = option(
        "clean",
        "optimiser and start of the head: clean, or as published (then with its other settings)",
        choices=("clean", "published"),
    )
    head: str = option("bel", "kind of output", choices=HEADS)
    code: str | None = option(None, "label encoding of head bel: a name, random:SEED or file:PATH of a 0/1 matrix")
    code_bits: int | None = option(None, "levels on the widest axis (not the matrix width); default: one per degree")
    theta: int | Literal["none"] | None = option(
        None, "width of the linear bottleneck of heads bel and rlel, or none; default 10", low=1, high=MOST_LEVELS
    )
    bits: int | None = option(
        None, "width of head rlel's learned code; default: as many as levels", low=1, high=MOST_LEVELS
    )
    distance_weight: float | None = option(
        None, "weight of head rlel's distance regulariser; default: as published", low=0, high=1e6
    )
    difference_weight: float | None = option(
        None, "weight of head rlel's difference regulariser; default: as published", low=0, high=1e6
    )
    alpha: float | None = option(None, "weight of head hopenet's squared error; default 1", low=0, high=1e6)
    sigma: float | None = option(
        None,
        "standard deviation in levels of the labels of heads soft_label and dldl_v2 (default 2) and hl_gauss (0.75)",
        low=0.1,
        high=1e4,
    )
    phi: str | None = option(
        None, "distance in head sord's labels: l1 (default), or its square, l2", choices=("l1", "l2")
    )
    mean_weight: float | None = option(
        None, "weight of the squared error of head mean_variance's expectation; default 0.2", low=0, high=1e6
    )
    variance_weight: float | None = option(
        None, "weight of the variance in head mean_variance; default 0.05", low=0, high=1e6
    )
    expectation_weight: float | None = option(
        None, "weight of the absolute error of head dldl_v2's expectation; default 1", low=0, high=1e6
    )
    unimodal_weight: float | None = option(
        None, "weight of head unimodal's loss of a single peak; default 1000", low=0, high=1e6
    )
    beta: float | None = option(
        None, "power of the variance that weights head gaussian's likelihood; default 0.5", low=0, high=1
    )
    loss: str | None = option(None, "training loss; default: the head's own first one")
    regulariser: str = option(
        NONE, f"what the features should be, given the targets of a batch: none, {', '.join(REGULARISERS)}"
    )
    regulariser_weight: float | None = option(
        None, "weight of the regulariser beside the loss; default: its source's", low=TINY, high=1e6
    )
    balance: str = option(
        NONE, "weight of a training image in the loss: 1, or lds, one over the density of its labels", BALANCES
    )
    backbone: str = option("resnet50", "trunk: a name of torchvision's, or timm:NAME")
    weights: str = option("imagenet", "initial trunk: imagenet, none, or a file with a state dict")
    freeze: str | None = option(
        None, "parameters of the trunk that stay as they start: a regular expression that their names begin with"
    )
    lr: float = option(1e-4, "Adam's learning rate of the trunk", low=TINY, high=10)
    head_lr_factor: float = option(5.0, "learning rate of the head over the trunk's", low=TINY, high=1000)
    schedule: str = option("cosine", "learning rate over the run", choices=("cosine", "constant", "drop"))
    drop_epoch: int | None = option(None, "epochs before schedule drop divides lr by 10 and Adam starts anew", low=1)
    restarts: tuple[int, ...] | None = option(
        None, "epochs after which schedule cosine begins anew from lr, as 10,30; Adam goes on"
    )
    epochs: int = option(20, "passes over the training split", low=1)
    batch_size: int = option(16, "images a step; an incomplete last batch is left out", low=2)
    eval_batch_size: int = option(64, "images a batch in evaluation; a re-test repeats it", low=1)
    flip: float = option(0.0, "probability of mirroring a training image (signs of yaw and roll follow)", low=0, high=1)
    blur: float = option(0.0, "probability of blurring a training image", low=0, high=1)
    rotate: float = option(
        0.0, "largest rotation of a training image in degrees (the pose is turned along)", low=0, high=45
    )
    zoom: float = option(
        0.0, "largest relative change of a training image's size: from 1 / (1 + this) to 1 + this", low=0, high=1
    )
    shift: float = option(
        0.0, "largest move of a training image down and right, in sides of the image", low=0, high=0.5
    )
    jitter: float = option(
        0.0, "brightness, contrast and saturation of a training image vary by 1 +- this", low=0, high=0.9
    )
    erase: float = option(0.0, "probability of erasing a rectangle of a training image", low=0, high=1)
    seed: int = option(0, "weights, order and augmentation", low=0, high=2**31)
    device: str = option(
        "auto",
        "where to compute; auto takes a GPU (cuda) where there is one, and never mps, Apple's Metal",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    precision: str = option(
        "auto",
        "training arithmetic; auto takes bf16 autocast where trunk and image size gain by it",
        choices=("auto", "bf16", "fp32"),
    )
    cuda_graph: bool = option(True, "on a GPU, capture a training step once and replay it: the same numbers, sooner")
    memory_format: str = option(
        "channels_last", "layout of images and weights", choices=("channels_last", "contiguous")
    )
    cache: str = option(
        "auto",
        "where prepared images live: a mapped file (host), the device, or there if they fit",
        choices=("auto", "host", "device"),
    )
    plugins: tuple[str, ...] | None = option(
        None, "modules with heads, codes, backbones, readers or regularisers of one's own"
    )
    plugin_options: dict[str, Any] | None = field(
        default=None,
        hash=False,
        metadata=described("fields that a plug-in's head brings, by name", None, -math.inf, math.inf),
    )


FIELDS: dict[str, Field[Any]] = {f.name: f for f in fields(ConfigFields)}  # and those of plug-ins
HINTS: dict[str, Any] = typing.get_type_hints(ConfigFields)
OWN = tuple(FIELDS)  # without those of plug-ins


def add_field(name: str, new: Field[Any], kind: type) -> None:
    """Add a config field of a plug-in, None by default, to `FIELDS`."""
    new.name = name
    FIELDS[name], HINTS[name] = new, kind | None


def remove_field(name: str) -> None:
    """Remove a config field of a plug-in."""
    FIELDS.pop(name, None)
    HINTS.pop(name, None)

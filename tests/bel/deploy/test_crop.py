"""A network sees of a picture, or of a box in it, what it was trained on."""

import numpy as np
import pytest
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import request
from bel.data.prepare.crops import center, present
from bel.data.prepare.prepared import prepare
from bel.data.readers.boxes import read_boxes
from bel.deploy.crop import network_input

FIELDS = {"image_size": 32, "backbone": "resnet10", "weights": "none", "device": "cpu"}


@pytest.mark.parametrize(
    ("protocol", "crop", "more"),
    [
        ("biwi", "frame", {}),
        ("biwi", "frame", {"image_size": 40}),  # a margin of 3
        ("biwi", "frame", {"image_size": 40, "center_crop": "floor"}),
        ("biwi", "published", {}),
        ("biwi", "boxes", {"boxes": "boxes.csv", "margin": 0.25}),
        ("aflw2000", "landmarks", {}),
        ("aflw2000", "published", {}),
    ],
)
def test_the_network_sees_what_it_was_trained_on(rendered, tmp_path, protocol, crop, more):
    root = tmp_path / "root"
    root.mkdir()
    for folder in rendered.iterdir():
        (root / folder.name).symlink_to(folder)
    fields = FIELDS | {"protocol": protocol, "crop": crop, "data_root": str(root), "cache_dir": str(tmp_path / "cache")}
    config = TrainConfig.make(fields | {"head": "direct"} | more)
    source = config.definition.test
    entries = {entry.stem: entry for entry in source.listed(root).entries}
    if crop == "boxes":
        lines = [f"{stem},{3 + i % 5},4,{50 + i % 7},60" for i, stem in enumerate(entries)]
        (root / "boxes.csv").write_text("\n".join(lines))
        boxes = read_boxes(root / "boxes.csv")
    prepared = prepare(request(config, "test"))
    side = config.image_size
    top, left = center(prepared.images.shape[1:], side, config.center_crop)
    assert len(prepared) > 5
    for name, pixels in zip(prepared.names, prepared.images, strict=True):
        with Image.open(entries[name].image) as image:
            rgb = image.convert("RGB")
        box = boxes[name] if crop == "boxes" else None
        if protocol == "aflw2000":
            landmarks = present(source.read(entries[name]).landmarks)
            box = *landmarks.min(1), *landmarks.max(1)
        assert np.array_equal(network_input(rgb, box, config, side), pixels[top : top + side, left : left + side])

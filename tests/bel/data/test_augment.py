"""Augmentations: labels follow the pixels, each touches what it was drawn for, and nothing is done for nothing."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from bel.angles import Axis, euler_to_matrix
from bel.data.augment import (
    Augmentation,
    augment,
    augment_targets,
    draw,
    jitter,
    ring_blur,
    turn,
    warp,
    within_axes,
)
from bel.data.protocols import PROTOCOLS
from bel.data.synthetic.identity import draw_traits
from bel.data.synthetic.mesh import build_head
from bel.data.synthetic.render import render

SIZE = 96
AXES = PROTOCOLS["aflw2000"].axes
POSES = [(0, 0, 0), (35, 25, -20), (-50, -30, 10), (70, -10, 15), (-80, 20, 5), (97, 5, -10)]
BODY = euler_to_matrix(np.array([10.0, 5.0, 0.0]))
ALL = Augmentation(flip=0.5, blur=0.5, rotate=30, zoom=0.2, shift=0.1, jitter=0.4, erase=0.5)


def drawn(n, seed=0, **fixed):
    return replace(draw(n, (16, 16), torch.Generator().manual_seed(seed)), **fixed)


def noise(n=8, size=32):
    return torch.randint(256, (n, size, size, 3), generator=torch.Generator().manual_seed(1)).byte().permute(0, 3, 1, 2)


@cache
def head():
    """One-sided: the hair and the glasses of seed 3 are no mirror image of themselves."""
    return build_head(draw_traits(np.random.default_rng(3)), np.random.default_rng(3))


def mirrored(original):
    """The head as its mirror image; triangles turn over, so their corners change order."""
    sign = np.array([-1, 1, 1], np.float32)
    points, normals = original.points * sign, original.normals * sign
    return replace(original, points=points, normals=normals, triangles=original.triangles[:, ::-1].copy())


def photograph(head, pose, body=BODY):
    """Bare colours (1, 3, SIZE, SIZE) in 0..255 of a head on the optical axis, black around it."""
    picture, _ = render(head, euler_to_matrix(np.array(pose, float)), np.array([0, 0, 1150.0]), body, SIZE, None)
    return torch.from_numpy(255 * picture[..., :3]).permute(2, 0, 1)[None]


def changed(pose, settings, **draws):
    """Image and label of a head at a pose, both augmented."""
    draws = drawn(1, **{name: torch.tensor([value], dtype=torch.float64) for name, value in draws.items()})
    target = augment_targets(torch.tensor([pose], dtype=torch.float64), draws, settings, AXES)
    return augment(photograph(head(), pose), draws, settings), target[0].numpy()


def distance(a, b):
    """Mean absolute difference over the disc that a turn leaves in the picture."""
    y, x = torch.meshgrid(*2 * [torch.arange(SIZE) - (SIZE - 1) / 2], indexing="ij")
    return (a - b).abs()[..., x.hypot(y) < SIZE / 2 - 1].mean().item()


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("angle", [25, -40])
def test_a_turned_image_shows_the_head_at_the_turned_label(pose, angle):
    image, label = changed(pose, Augmentation(rotate=abs(angle)), turn=angle / abs(angle))
    about_z = euler_to_matrix(np.array([0, 0, angle]))
    right = distance(image, photograph(head(), label, about_z @ BODY))
    opposite = turn(torch.tensor([pose], dtype=torch.float64), torch.tensor([-angle], dtype=torch.float64))[0].numpy()
    assert right < 3, "what bilinear interpolation costs"
    assert right < distance(image, photograph(head(), opposite, about_z @ BODY)) / 10
    if pose[:2] != (0, 0):
        only_roll = (pose[0], pose[1], pose[2] + angle)
        assert right < distance(image, photograph(head(), only_roll, about_z @ BODY)) / 4


@pytest.mark.parametrize("pose", POSES[1:])
def test_a_mirrored_image_shows_the_mirrored_head_at_the_mirrored_label(pose):
    image, label = changed(pose, Augmentation(flip=1))
    mirror = np.diag([-1.0, 1, 1])
    body = mirror @ BODY @ mirror
    assert distance(image, photograph(mirrored(head()), label, body)) < 0.01
    for sign in ((1, 1, -1), (-1, -1, -1), (-1, 1, 1)):
        assert distance(image, photograph(mirrored(head()), np.array(pose) * sign, body)) > 4


def test_turned_first_and_mirrored_then():
    image, label = changed((35, 25, -20), Augmentation(rotate=30, flip=1), turn=1.0)
    mirror = np.diag([-1.0, 1, 1])
    body = mirror @ euler_to_matrix(np.array([0, 0, 30])) @ BODY @ mirror
    assert distance(image, photograph(mirrored(head()), label, body)) < 3


def test_only_roll_turns_in_a_frontal_pose():
    poses = torch.tensor([[0, 0, 10], [0, 0, -170]], dtype=torch.float64)
    turned = turn(poses, torch.tensor([20.0, -20], dtype=torch.float64))
    np.testing.assert_allclose(turned, [[0, 0, 30], [0, 0, -190]], atol=1e-9)


def test_labels_beyond_90_degrees_of_yaw_do_not_jump():
    poses = torch.tensor([[98, 10, 5], [-95, -5, 170], [89, 60, -90], [-99, 99, -99]], dtype=torch.float64)
    np.testing.assert_allclose(turn(poses, torch.zeros(4, dtype=torch.float64)), poses, atol=1e-9)
    np.testing.assert_allclose(turn(poses, torch.full((4,), 0.01, dtype=torch.float64)), poses, atol=0.7)
    turned = turn(poses, torch.full((4,), 20.0, dtype=torch.float64))
    about_z = euler_to_matrix(np.array([0, 0, 20]))
    np.testing.assert_allclose(euler_to_matrix(turned), torch.from_numpy(about_z) @ euler_to_matrix(poses), atol=1e-12)
    assert (turned - poses).abs().max() < 120


def test_a_turn_that_leaves_the_axes_is_not_made():
    targets = torch.tensor([[0, 0, 30], [0, 0, 20], [0, 0, -30]], dtype=torch.float64)
    draws = drawn(3, turn=torch.ones(3, dtype=torch.float64))
    kept = within_axes(targets, draws, Augmentation(rotate=20), PROTOCOLS["biwi"].axes)  # roll in -55..44
    assert kept.turn.tolist() == [0, 1, 1]
    assert within_axes(targets, draws, Augmentation(flip=1), AXES) is draws


def test_nothing_set_gives_the_same_objects():
    images, targets = noise(), torch.zeros(8, 3, dtype=torch.float64)
    assert augment(images, drawn(8), Augmentation()) is images
    assert augment_targets(targets, drawn(8), Augmentation(), AXES) is targets


def test_same_draws_same_result_and_the_input_stays():
    images = noise()
    before = images.clone()
    assert torch.equal(augment(images, drawn(8), ALL), augment(images, drawn(8), ALL))
    assert not torch.equal(augment(images, drawn(8), ALL), augment(images, drawn(8, seed=1), ALL))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["flip", "blur", "erase"])
def test_only_chosen_images_change(name):
    draws, images = drawn(8), noise()
    after = augment(images, draws, Augmentation(**{name: 0.5}))
    touched = (after != images).flatten(1).any(1)
    assert torch.equal(touched, getattr(draws, name) < 0.5) and 0 < touched.sum() < 8


@pytest.mark.parametrize(
    ("name", "still"), [("rotate", "turn"), ("zoom", "zoom"), ("shift", "shift"), ("jitter", "jitter")]
)
def test_images_drawn_to_stay_do(name, still):
    draws = drawn(8)
    getattr(draws, still)[3] = 0
    after = augment(noise(), draws, Augmentation(**{name: 0.5}))
    unchanged = (after - noise()).abs().amax((1, 2, 3)) < 0.01
    assert unchanged.nonzero().flatten().tolist() == [3]


def warped(image, angle=0.0, size=1.0, shift=(0.0, 0.0)):
    """One image turned by degrees, made `size` as large, moved down and right by shares of its side."""
    return warp(image, *(torch.tensor([value], dtype=torch.float64) for value in (angle, size, shift)))


@pytest.mark.parametrize(("shift", "pixels"), [((0.25, 0), (8, 0)), ((0, 0.25), (0, 8)), ((-0.125, 0.5), (-4, 16))])
def test_shifts_are_shares_of_the_side_down_and_right_black_where_nothing_was(shift, pixels):
    image = noise(1).float() + 1
    moved = warped(image, shift=shift)
    inside = moved[0, 0] != 0
    torch.testing.assert_close(moved * inside, image.roll(pixels, (2, 3)) * inside, atol=0.02, rtol=0)
    assert inside.sum() == (32 - abs(pixels[0])) * (32 - abs(pixels[1]))


@pytest.mark.parametrize("size", [0.5, 0.8, 1.25, 2.0])
def test_a_zoom_makes_what_is_seen_as_much_larger(size):
    y, x = torch.meshgrid(*2 * [torch.arange(64.0) - 31.5], indexing="ij")
    disc = (200 * torch.sigmoid(2 * (12 - (x**2 + y**2).sqrt())))[None, None].expand(1, 3, 64, 64)
    area = warped(disc, size=size)[0, 0].sum() / disc[0, 0].sum()
    assert area == pytest.approx(size**2, rel=0.02)


def test_sizes_and_shifts_are_within_what_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr("bel.data.augment.warp", lambda images, *numbers: seen.extend(numbers) or images)
    augment(noise(8), drawn(4000), Augmentation(zoom=0.25, shift=0.1))
    angles, sizes, shifts = seen
    assert (angles == 0).all() and shifts.abs().max() == pytest.approx(0.1, rel=0.01)
    assert sizes.min() == pytest.approx(0.8, rel=0.01) and sizes.max() == pytest.approx(1.25, rel=0.01)


def test_quarter_turns_are_exact_and_go_from_right_to_down():
    image = noise(1).float()
    turned = warped(image, angle=90)
    torch.testing.assert_close(turned, image.rot90(-1, (2, 3)), atol=0.02, rtol=0)


def test_a_turned_image_is_black_outside():
    turned = warped(torch.full((1, 3, 32, 32), 200.0), angle=45)
    assert (turned[0, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all() and (turned[0, :, 16, 16] == 200).all()


def test_blur_is_the_published_one_but_for_rounding():
    image = noise(1)
    blurred = ring_blur(image.float())[0].permute(1, 2, 0)
    published = Image.fromarray(image[0].permute(1, 2, 0).numpy()).filter(ImageFilter.BLUR)
    torch.testing.assert_close(blurred, torch.from_numpy(np.array(published)).float(), atol=0.51, rtol=0)


def test_jitter_is_brightness_contrast_and_saturation():
    images, grey = 100 + noise(1).float() / 5, torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # never clamped
    value, mean = (images * grey).sum(1, keepdim=True), (images * grey).sum(1).mean()

    def jittered(*factors):
        return jitter(images, torch.tensor([factors], dtype=torch.float64))

    torch.testing.assert_close(jittered(1.2, 1, 1), 1.2 * images)
    torch.testing.assert_close(jittered(1, 0.6, 1), mean + 0.6 * (images - mean))
    torch.testing.assert_close(jittered(1, 1, 0.6), value + 0.6 * (images - value))
    together = (jittered(0.8, 1.3, 0.7) * grey).sum(1).mean()
    torch.testing.assert_close(together, 0.8 * mean)
    assert jittered(3, 1, 1).max() == 255


def test_erased_rectangles_cover_2_to_33_percent_in_one_colour():
    draws = drawn(400)
    erased = augment(torch.full((400, 3, 64, 64), -1.0), draws, Augmentation(erase=1.0))
    covered = (erased >= 0).all(1)
    area, rows, columns = covered.float().mean((1, 2)), covered.any(2).sum(1), covered.any(1).sum(1)
    assert torch.equal(rows * columns, covered.sum((1, 2))), "a rectangle"
    assert 0.015 < area.min() < 0.03 and 0.31 < area.max() < 0.34
    aspect = (rows / columns).log()
    assert aspect.abs().max() < 1.35 and aspect.min() < -0.9 and aspect.max() > 0.9 and abs(aspect.mean()) < 0.1
    edges = covered[:, 0], covered[:, -1], covered[:, :, 0], covered[:, :, -1]
    assert all(0.01 < edge.any(1).float().mean() < 0.2 for edge in edges), "up to all four edges"
    torch.testing.assert_close(erased.amax((2, 3)), 255 * draws.colour.float())


def test_crops_reach_every_corner_of_their_margin():
    corners = draw(2000, (5, 9), torch.Generator().manual_seed(0)).corners
    assert [sorted(set(column.tolist())) for column in corners.T] == [list(range(6)), list(range(10))]


def test_turns_and_jitters_go_both_ways_and_chances_are_shares():
    draws = draw(4000, (0, 0), torch.Generator().manual_seed(0))
    both = dict.fromkeys(("turn", "zoom", "shift", "jitter"), -1)
    for name, low in (both | {"flip": 0, "blur": 0, "erase": 0, "box": 0, "colour": 0}).items():
        values = getattr(draws, name)
        assert low <= values.min() < low + 0.01 and 0.99 < values.max() <= 1, name


def test_a_margin_changes_no_other_draw():
    narrow, wide = (draw(6, margin, torch.Generator().manual_seed(0)) for margin in ((0, 0), (16, 40)))
    assert (narrow.corners == 0).all() and torch.equal(narrow.flip, wide.flip) and torch.equal(narrow.box, wide.box)


def test_a_batch_of_an_epochs_draws_is_augmented_as_in_the_epoch():
    draws, images, targets = drawn(8, seed=1), noise(), 20 * torch.randn(8, 3, dtype=torch.float64)
    part = slice(1, 7)
    torch.testing.assert_close(augment(images[part], draws[part], ALL), augment(images, draws, ALL)[part])
    whole = augment_targets(targets, draws, ALL, AXES)
    assert torch.equal(augment_targets(targets[part], draws[part], ALL, AXES), whole[part])


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["flip", "blur", "rotate", "zoom", "shift", "jitter", "erase"])
def test_memory_format_is_kept(name, memory_format):
    images = noise().contiguous(memory_format=memory_format)
    after = augment(images, drawn(8), Augmentation(**{name: 0.5}))
    assert after.is_contiguous(memory_format=memory_format) and after.shape == images.shape
    assert after.dtype == (torch.uint8 if name in ("flip", "erase") else torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_without_being_waited_for():
    images = noise().cuda()
    augment(images, drawn(8), ALL)  # loads what is loaded once
    torch.cuda.set_sync_debug_mode("error")
    try:
        after = augment(images, drawn(8), ALL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(after.cpu(), augment(noise(), drawn(8), ALL), atol=0.1, rtol=0)


def test_a_mirrored_angle_that_wraps_stays_within_its_period():
    axes = (Axis("roll", -180, 360, 72, flip=-1, period=360), Axis("heading", 0, 360, 72, flip=-1, period=360))
    targets = torch.tensor([[-180.0, 0], [170, 350], [-10, 90], [540, -20]], dtype=torch.float64)
    flipped = augment_targets(targets, drawn(4), Augmentation(flip=1.0), axes)
    assert flipped.tolist() == [[-180, 0], [-170, 10], [10, 270], [-180, 20]]
    assert augment_targets(targets, drawn(4), Augmentation(), axes)[3].tolist() == [-180, 340]

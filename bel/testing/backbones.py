"""The contract of a backbone: images to features, one row an image, with a gradient for every parameter."""

import torch

from bel.model import build_trunk, probe

SIDE = 64


def check_backbone(name: str, side: int = SIDE) -> None:
    """Check a backbone by name on images (3, 3, side, side). Raises `UserError` where it does not take them."""
    torch.manual_seed(0)
    trunk, features = build_trunk(name, side)
    probe(trunk, name, side)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = trunk.eval()(images)
        assert found.shape == (3, features), f"{name} must give (3, {features}), got {tuple(found.shape)}"
        assert found.is_floating_point() and found.isfinite().all(), f"the features of {name} must be finite numbers"
        message = f"in evaluation the features of {name} must be the same in every call, and depend on no other image"
        torch.testing.assert_close(trunk(images[:1]), found[:1], rtol=1e-4, atol=1e-4, msg=message)
        assert not torch.allclose(found[0], found[1]), f"{name} gives two images the same features"
    trunk.train()(images).square().sum().backward()
    for parameter, value in trunk.named_parameters():
        assert not value.requires_grad or value.grad is not None, f"no gradient reaches {parameter} of {name}"
    other, _ = build_trunk(name, side)
    other.load_state_dict(trunk.state_dict())

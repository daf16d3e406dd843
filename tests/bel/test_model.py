import pytest
import torch
import torchvision

from bel.errors import UserError
from bel.model import imagenet_weights
from bel.precision import pick_device
from bel.training.build import build_model, optimiser_groups
from tests.conftest import PROJECT, without_gpu


@pytest.mark.parametrize(
    "backbone", ["resnet10", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"]
)
@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_any_torchvision_trunk_carries_the_heads(make, backbone, memory_format):
    config = make(backbone=backbone, memory_format=memory_format)
    model = build_model(config).to(memory_format=config.layout)
    outputs = model(torch.randn(2, 3, 64, 64).contiguous(memory_format=config.layout))
    assert [tuple(o.shape) for o in outputs] == [(2, 150), (2, 150), (2, 100)]


def test_resnet50_is_the_default_and_has_2048_features(make):
    config = make(backbone="resnet50")
    model = build_model(config)
    assert model.head.per_axis["yaw"].bottleneck.in_features == 2048
    assert type(config).__dataclass_fields__["backbone"].default == "resnet50"


def test_a_trunk_without_a_linear_classifier_is_refused(make):
    with pytest.raises(UserError, match="squeezenet1_1 has no linear classifier"):
        build_model(make(backbone="squeezenet1_1"))


def test_images_too_small_for_a_trunk_are_refused(make):
    with pytest.raises(UserError, match="backbone vit_b_16 does not take images of image_size 32"):
        build_model(make(backbone="vit_b_16"))


def test_every_parameter_is_in_exactly_one_group(make):
    config = make(backbone="resnet18")
    model = build_model(config)
    trunk, head = optimiser_groups(model, config)
    ids = [id(p) for group in (trunk, head) for p in group.parameters]
    assert len(set(ids)) == len(ids) == len(list(model.parameters()))
    assert (trunk.factor, head.factor) == (1, config.head_lr_factor) and trunk.steps == head.steps == 1
    assert {id(p) for p in head.parameters} == {id(p) for p in model.head.parameters()}


def test_the_head_computes_in_fp32_under_autocast(make):
    model = build_model(make())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(output.dtype == torch.float32 for output in model(torch.randn(2, 3, 32, 32)))


def test_weights_from_a_file_fill_the_trunk(make, tmp_path):
    donor = torchvision.models.resnet18()
    torch.save(donor.state_dict(), tmp_path / "donor.pt")
    model = build_model(make(backbone="resnet18", weights=str(tmp_path / "donor.pt")))
    assert torch.equal(model.trunk.conv1.weight, donor.conv1.weight)


def test_weights_of_another_network_are_refused_by_key(make, tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "donor.pt")
    with pytest.raises(UserError, match=r"do not fit backbone mobilenet_v2.*features\.0\.0\.weight"):
        build_model(make(backbone="mobilenet_v2", weights=str(tmp_path / "donor.pt")))


@pytest.mark.parametrize("content", [b"no weights", None])
def test_a_file_that_is_no_state_dict_is_refused(make, tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content) if content else torch.save([1, 2], path)
    with pytest.raises(UserError, match=r"is (not )?a state dict"):
        build_model(make(backbone="resnet18", weights=str(path)))


def test_imagenet_weights_without_network_or_file_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(UserError, match=r"put a whole resnet18-.*\.pth into .* or set weights to none"):
        imagenet_weights("resnet18")


def test_a_damaged_weight_file_says_which(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"put a whole resnet18-f37072fd\.pth into"):
        imagenet_weights("resnet18")


def test_a_backbone_without_imagenet_weights_says_so():
    with pytest.raises(UserError, match="no ImageNet weights for backbone resnet10"):
        imagenet_weights("resnet10")


def test_real_imagenet_weights_load_from_torch_home(make, monkeypatch):
    home = PROJECT.parent / "shared" / "torch_home"
    if not home.is_dir():
        pytest.skip("no ImageNet weights at hand: ../shared/torch_home is not there")
    monkeypatch.setenv("TORCH_HOME", str(home))
    torch.manual_seed(0)
    first = build_model(make(backbone="mobilenet_v2", weights="imagenet")).trunk.state_dict()
    torch.manual_seed(1)
    second = build_model(make(backbone="mobilenet_v2", weights="imagenet")).trunk.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@without_gpu
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="torch sees no GPU"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"

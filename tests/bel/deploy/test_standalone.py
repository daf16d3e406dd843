"""A head in a loop of one's own is the head of a sweep."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import bel.precision
from bel.angles import Axis
from bel.codes.library import code_matrix
from bel.deploy.standalone import HeadFields, make_head
from bel.errors import UserError
from bel.heads import HEADS
from bel.model import Model
from bel.testing.heads import FEATURES, configs, example_batch, example_config, example_model
from tests.bel.test_precision import NoFloat64, on_fake_device
from tests.test_readmes import fences

RANGES = {"yaw": (-40, 20), "pitch": (-20, 20)}


def same_head(config):
    """The head that `make_head` makes of the fields of a config, and the model of the config, of the same seed."""
    axes, options = config.definition.axes, {name: getattr(config, name) for name in HEADS[config.head].options}
    model = example_model(config)  # seeds
    torch.manual_seed(0)
    nn.Sequential(nn.Flatten(), nn.Linear(48, FEATURES), nn.Tanh())
    head = make_head(
        config.head,
        FEATURES,
        {axis.name: (axis.low, axis.low + axis.span) for axis in axes},
        [axis.levels for axis in axes],
        loss=config.loss,
        period=[axis.period for axis in axes],
        pose=config.definition.pose,
        **options,
    )
    return head, model


def assert_same(config):
    """Weights, loss, gradients, predictions and posteriors are equal to the last bit."""
    head, model = same_head(config)
    images, targets = example_batch(len(config.axes))
    weights = {name: value for name, value in model.state_dict().items() if name.startswith("head.")}
    assert head.axes == tuple(Axis(a.name, a.low, a.span, a.levels, unit=h.unit, flip=h.flip, period=a.period)
                              for a, h in zip(config.axes, head.axes, strict=True))  # fmt: skip
    assert weights.keys() == head.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in head.state_dict().items())
    outputs, ours = model(images), head(model.trunk(images))
    assert all(map(torch.equal, outputs, ours))
    for module, given in ((model.head, outputs), (head, ours)):
        module.loss(given, targets).backward()
    assert torch.equal(model.head.loss(outputs, targets), head.loss(ours, targets))
    gradients = [[p.grad for p in module.parameters()] for module in (model.head, head)]
    assert all(map(torch.equal, *gradients))
    decoded = model.head.decode(outputs)
    assert head.decoders == tuple(decoded) and torch.equal(head.decode(ours), next(iter(decoded.values())))
    assert all(torch.equal(head.decode(ours, name), values) for name, values in decoded.items())
    assert all(map(torch.equal, model.head.posteriors(outputs), head.posteriors(ours)))


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_the_one_of_a_config_of_the_same_fields(kind):
    for config in configs(kind, 1, 3):
        assert_same(config)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bel", {"code": "gray", "theta": "none"}), ("bel", {"code": "j", "theta": 3, "code_bits": 26}), ("direct", {}),
        ("rlel", {"bits": 12, "distance_weight": 2, "difference_weight": "0.5"}), ("hopenet", {"alpha": 3}),
        ("hl_gauss", {"sigma": 1.5}), ("mean_variance", {"mean_weight": 1, "variance_weight": 2}), ("gaussian", {"beta": 1}),
        ("sord", {"phi": "l2"}),
        ("dldl_v2", {"sigma": 3, "expectation_weight": 5}), ("unimodal", {"unimodal_weight": 10, "code_bits": 20}),
    ],
)  # fmt: skip
def test_its_own_fields_are_those_of_a_config(kind, options):
    assert_same(example_config(kind, axes=2, **options))


def test_the_loop_of_the_readme_learns(capsys):
    (loop,) = (text for language, text in fences("bel/README.md") if language == "python")
    torch.manual_seed(0)
    names = {}
    exec(loop, names)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) > 2 and losses[-1] < losses[0] / 3
    predictions, std, targets = names["predictions"], names["std"], names["targets"]
    assert predictions.shape == std.shape == targets.shape and predictions.dtype == torch.float64
    errors = (predictions - targets).abs().mean(0)
    assert (errors < torch.tensor([10, 0.05])).all() and (std > 0).all()


@pytest.mark.parametrize("as_given", [
    lambda matrix: matrix, torch.from_numpy, lambda matrix: torch.from_numpy(matrix).bool(), lambda matrix: matrix.tolist(),
    lambda matrix: lambda levels: matrix[:levels],
])  # fmt: skip
def test_a_code_is_a_name_or_a_matrix(as_given):
    torch.manual_seed(0)
    named = make_head("bel", 8, [(0, 40)], 40, code="u")
    torch.manual_seed(0)
    given = make_head("bel", 8, [(0, 40)], 40, code=as_given(code_matrix("u", 40)))
    features, targets = torch.randn(5, 8), torch.tensor([0, 3, 7.5, 39, 50])
    assert torch.equal(named.loss(named(features), targets), given.loss(given(features), targets))
    for decoder in ("expected", "argmax"):
        assert torch.equal(named.decode(named(features), decoder), given.decode(given(features), decoder))
    assert torch.equal(given.decode(given(features), "native"), given.decode(given(features), "argmax"))


def test_axes_with_other_numbers_of_levels_have_a_function_as_code():
    head = make_head("bel", 8, RANGES, [60, 40], code=lambda levels: np.eye(levels))
    assert [output.shape for output in head(torch.zeros(2, 8))] == [(2, 60), (2, 40)]


def test_targets_are_of_any_type_and_one_axis_takes_a_vector():
    head, features = make_head("sord", 8, [(0, 50)], 50), torch.randn(4, 8)
    outputs, whole = head(features), torch.tensor([1, 20, 30, 49])
    losses = {
        head.loss(outputs, y).item() for y in (whole, whole.double(), whole.float()[:, None], whole[:, None].half())
    }
    assert len(losses) == 1
    weights = torch.tensor([2.0, 1.0, 1.0, 0.0])
    assert head.loss(outputs, whole, weights).item() not in losses
    assert torch.equal(head.loss(outputs, whole, torch.ones(4, 1)), head.loss(outputs, whole))


def test_a_head_keeps_its_type_under_autocast():
    head, features = make_head("bel", 8, RANGES, [60, 40], code="j", loss="ce"), torch.randn(4, 8)
    targets = torch.tensor([[1.0, 2.0]]).expand(4, 2)
    outputs = head(features)
    expected = head.loss(outputs, targets)
    with torch.autocast("cpu", torch.bfloat16):
        again = head(features)
        assert all(map(torch.equal, outputs, again)) and torch.equal(head.loss(again, targets), expected)
        assert torch.equal(head.decode(again), head.decode(outputs)) and torch.equal(head.std(again), head.std(outputs))
    assert head.double()(features)[0].dtype == torch.float64


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_stored_copied_and_is_differentiable_to_the_features(kind):
    pose = HEADS[kind].pose_only
    ranges = [(-99, 99)] * 3 if pose else [(-40, 20), (0, 1)]
    make = lambda: make_head(kind, 8, ranges, [40] * len(ranges), pose=pose, code="j" if kind == "bel" else None)  # noqa: E731
    head, other, features = make(), make(), torch.randn(4, 8, requires_grad=True)
    targets = torch.tensor([[-30.0, 0.2], [0, 0.9]]).repeat(2, 1) if not pose else torch.randn(4, 3)
    assert not all(map(torch.equal, head(features), other(features)))
    other.load_state_dict(head.state_dict())
    for same in (other, pickle.loads(pickle.dumps(head)), copy.deepcopy(head)):
        assert all(map(torch.equal, head(features), same(features)))
        assert torch.equal(head.loss(head(features), targets), same.loss(same(features), targets))
    head.loss(head(features), targets).backward()
    assert features.grad.isfinite().all() and features.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["bel", "corn", "gaussian"])
def test_a_head_is_compiled_as_one_graph(kind):
    head, features = make_head(kind, 8, RANGES, [60, 40], code="j" if kind == "bel" else None), torch.randn(4, 8)
    targets = torch.tensor([[-30.0, 0.2], [0, 0.9]]).repeat(2, 1).double()
    torch._dynamo.reset()
    for function in (lambda x, y: head.loss(head(x), y), lambda x, y: head.decode(head(x))):
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        assert torch.equal(compiled(features, targets), function(features, targets))


def test_a_head_is_made_where_and_as_torch_makes_tensors():
    with torch.device("meta"):
        assert make_head("bel", 8, [(0, 1)], 20, code="j").head.per_axis.target0.matrix.is_meta
    torch.set_default_dtype(torch.float64)
    try:
        head = make_head("bel", 8, [(0, 1)], 20, code="j")
        assert head.decode(head(torch.zeros(1, 8))).shape == (1, 1)
    finally:
        torch.set_default_dtype(torch.float32)


def test_targets_come_to_the_device_of_the_outputs_as_it_takes_them(monkeypatch):
    """The device is fake: it stands for one without float64."""
    monkeypatch.setattr(bel.precision, "WITHOUT_FLOAT64", ("cuda",))
    head, targets = make_head("bel", 8, RANGES, [60, 40], code="j"), torch.zeros(4, 2, dtype=torch.float64)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, NoFloat64(), torch.no_grad():
        on_fake_device(head, fake)
        outputs = head(torch.zeros(4, 8, device="cuda"))
        assert head.loss(outputs, fake.from_tensor(targets), fake.from_tensor(targets)).device.type == "cuda"
        for found in (head.decode(outputs), head.std(outputs), *head.posteriors(outputs)):
            assert found.device.type == "cpu" and found.dtype == torch.float64


def test_the_head_of_a_checkpoint_fits():
    """The weights of a model have the names under which a run keeps them."""
    config = example_config("bel", "j", axes=2)
    head, model = same_head(config)
    own = Model(nn.Identity(), head.head)
    own.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("head.")})
    assert "yaw -40..20 in 60 levels" in repr(head) and "decoders expected, argmax, native" in repr(head)


def test_a_standard_deviation_is_of_the_posterior():
    head = make_head("classification", 8, [(0, 100)], 50)
    outputs = [torch.full((1, 50), -torch.inf)]
    outputs[0][0, [10, 12]] = 0.0
    assert head.std(outputs).item() == pytest.approx(2)  # one level of two units to each side
    assert head.posteriors(outputs)[0][0, 10].item() == 0.5
    direct = make_head("direct", 8, [(0, 100)])
    with pytest.raises(
        UserError, match="head direct gives no posterior, so no standard deviation: take one that does, such as bel"
    ):
        direct.std(direct(torch.zeros(1, 8)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "bell"}, r"head must be one of \['bel', .*got 'bell'"),
        ({"features": 0}, "features must be from 1 to 1000000, got 0"),
        ({"features": 2.5}, "features must be a whole number, got 2.5"),
        ({"ranges": []}, r"ranges must be \(low, high\) of one target or more, got \[\]"),
        ({"ranges": 5}, r"ranges must be a list of \(low, high\), or a mapping of names to them, got 5"),
        ({"ranges": (0, 1)}, r"ranges.target0 must be \(low, high\), got 0"),
        ({"ranges": [(5, 1)]}, "ranges.target0.low must be below its high, got low 5 and high 1"),
        ({"ranges": {"a b": (0, 1)}}, "a target's name must be letters, digits and _, got 'a b'"),
        ({"levels": 1}, "ranges.target0.levels must be from 2 to 10000, got 1"),
        ({"levels": [40, 40]}, r"levels must be one for all ranges or one for each of the 1, got \[40, 40\]"),
        ({"levels": 41}, "code j needs an even number of levels on every axis, got 41: use 42"),
        ({"period": 360}, "ranges.target0 must span one period, from low 0 to 360, got high 1 and period 360"),
        ({"pose": True}, r"ranges must be \(low, high\) of each of \['yaw', 'pitch', 'roll'\], in this order"),
        ({"kind": "rotation6d", "code": None}, r"head rotation6d is for poses: choose another head, or give pose=True"),
        ({"kind": "corn", "code": None, "period": 1}, "head corn has no meaning on a circle, and target0 .* has a period"),
        ({"loss": "kl"}, r"loss of head bel must be one of \['bce', 'ce', 'mse', 'l1'\], got 'kl'"),
        ({"theta": 0}, "theta must be from 1 to 10000, got 0"),
        ({"theta": "no"}, "theta must be a whole number or none, got 'no'"),
        ({"sigma": 1}, "sigma belongs to head soft_label or dldl_v2 or hl_gauss, not to bel: leave sigma out"),
        ({"gamma": 1}, r"unknown option of head bel 'gamma': choose from \['code', 'code_bits', 'theta'\]"),
        ({"kind": "sord", "code": None, "phi": "l3"}, r"phi must be one of \['l1', 'l2'\], got 'l3'"),
        ({"kind": "direct"}, "code belongs to head bel, not to direct: leave code out"),
        ({"code": "jj"}, r"code of head bel must be one of \['u', 'j', .*got 'jj'"),
        ({"code": None}, r"code of head bel must be one of \['u', 'j', .*got None"),
        ({"code": np.eye(30)}, "the code matrix must have as many rows as the axis has levels, 40, got 30: give a function"),
        ({"code": 2 * np.eye(40)}, r"the code matrix must hold 0 and 1 only, got 2 in row 0, column 0"),
        ({"code": np.ones((40, 3))}, "the code matrix must have different rows, but rows 0 and 1"),
        ({"code": [[0, 1], [1]]}, "the code matrix must be a table of 0 and 1, a row a level"),
        ({"code": np.array("j")}, "the code matrix must have two dimensions"),
    ],
)  # fmt: skip
def test_a_bad_value_gives_one_clear_line(changes, message):
    good = {"kind": "bel", "features": 8, "ranges": [(0, 1)], "levels": 40, "code": "j"}
    make_head(**good)
    with pytest.raises(UserError, match=message):
        make_head(**(good | changes))


def test_a_bad_tensor_gives_one_clear_line():
    head = make_head("bel", 8, RANGES, [60, 40], code="j")
    outputs = head(torch.zeros(3, 8))
    with pytest.raises(UserError, match=r"features must be \(images, 8\), got \(3, 9\)"):
        head(torch.zeros(3, 9))
    with pytest.raises(UserError, match=r"targets must be \(images, axes\), here \(3, 2\), got \(2, 2\)"):
        head.loss(outputs, torch.zeros(2, 2))
    with pytest.raises(UserError, match=r"weights must be \(images, axes\), here \(3, 2\), got \(3,\)"):
        head.loss(outputs, torch.zeros(3, 2), torch.ones(3))
    with pytest.raises(UserError, match=r"decoder must be one of \['expected', 'argmax', 'native'\], got 'median'"):
        head.decode(outputs, "median")


def test_fields_of_a_head_are_no_others():
    fields = HeadFields((), None, {"theta": 3})
    assert fields.theta == 3
    with pytest.raises(AttributeError, match="epochs"):
        _ = fields.epochs

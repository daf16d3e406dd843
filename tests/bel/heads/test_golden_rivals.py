"""Losses, gradients and predictions of the methods of others, against golden figures of their public code, in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bel.heads import decoders, losses
from bel.heads.direct import variance
from bel.heads.distributions import distances, gaussian_bins, gaussian_density, ordinal_softmax
from bel.testing.heads import example_config, example_model

GOLDEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[2] / "golden" / "rivals.npz").items()
}
CLOSE = {"rtol": 0, "atol": 1e-9}
LEVELS = 20
FLOAT, WHOLE = GOLDEN["labels_f"], GOLDEN["labels_i"].double()


def near(label):
    return distances(label, LEVELS)


def equals(name, loss, variable):
    """Whether a loss, and its gradient to a variable, are the golden ones."""
    torch.testing.assert_close(loss, GOLDEN[f"{name}_loss"], **CLOSE)
    torch.testing.assert_close(torch.autograd.grad(loss, variable)[0], GOLDEN[f"{name}_grad"], **CLOSE)


def logits(name="logits"):
    return GOLDEN[name].clone().requires_grad_()


def above(label=WHOLE):
    return (label[:, None] > torch.arange(LEVELS - 1)).double()


def head_of(name, **options):
    """A head of one axis with 20 levels, one a unit, from 0 on, in float64."""
    targets = {"age": {"low": 0, "high": LEVELS, "levels": LEVELS, "unit": ""}}
    protocol = {"name": "csv", "train": "labels.csv", "targets": targets}
    return example_model(example_config(name, protocol=protocol, **options)).head.double()


# By golden name: head, its options, labels, golden logits, and by decoder the golden predictions.
SOFTMAX = {"argmax": GOLDEN["logits"].argmax(-1), "expected": "softmax_pred_mean", "median": "softmax_pred_mae"}
CASES = {
    "mv": ("mean_variance", {}, WHOLE, "logits", SOFTMAX),
    "dldl2_f": ("dldl_v2", {}, FLOAT, "logits", SOFTMAX),
    "dldl2_i": ("dldl_v2", {}, WHOLE, "logits", SOFTMAX),
    "dldl2_f15": ("dldl_v2", {"sigma": 1.5, "expectation_weight": 0.5}, FLOAT, "logits", SOFTMAX),
    "sord_l1_f": ("sord", {}, FLOAT, "logits", SOFTMAX),
    "sord_l1_i": ("sord", {}, WHOLE, "logits", SOFTMAX),
    "sord_l2_f": ("sord", {"phi": "l2"}, FLOAT, "logits", SOFTMAX),
    "ucl_1000": ("unimodal", {}, WHOLE, "logits", SOFTMAX),
    "ucl_1": ("unimodal", {"unimodal_weight": 1}, WHOLE, "logits", SOFTMAX),
    "ucl_0": ("unimodal", {"unimodal_weight": 0}, WHOLE, "logits", SOFTMAX),
    "hlg_2": ("hl_gauss", {"sigma": 2}, FLOAT, "logits", SOFTMAX | {"expected": "hlg_pred"}),
    "hlg_075": ("hl_gauss", {}, FLOAT, "logits", SOFTMAX),
    "or": ("or_cnn", {}, WHOLE, "logits_bin", {"rank": "or_pred"}),
    "or_extreme": ("or_cnn", {"loss": "ranks_clamped"}, WHOLE, "or_extreme_logits", {}),
    "corn": ("corn", {}, WHOLE, "logits_bin", {"rank": "corn_pred", "expected": "corn_pred_sum"}),
    "coral": ("ordinal", {}, WHOLE, "logits_bin", {"rank": "coral_pred", "expected": "coral_pred_sum"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_head_has_the_published_loss_gradient_and_predictions(name):
    head, options, label, given, decoded = CASES[name]
    module, output = head_of(head, **options), logits(given)
    equals(name, module.loss([output], label[:, None]), output)
    found = module.decode([output.detach()])
    for decoder, golden in decoded.items():
        golden = GOLDEN[golden] if isinstance(golden, str) else golden
        torch.testing.assert_close(found[decoder][:, 0], golden.double(), **CLOSE)


@pytest.mark.parametrize("name", ["or", "corn", "coral"])
def test_clamped_logarithms_make_no_difference_for_moderate_logits(name):
    if name == "or":
        output = logits("logits_bin")
        equals("or", losses.ranks_clamped(output, above()), output)
    assert torch.equal(above(), GOLDEN["levels_i"])


def test_mean_variance_has_the_published_parts():
    z, index = GOLDEN["logits"], GOLDEN["labels_i"]
    entropy = losses.mean_variance(z, index, near(WHOLE), 0, 0)
    parts = [entropy, *(losses.mean_variance(z, index, near(WHOLE), *w) - entropy for w in ((1, 0), (0, 1)))]
    torch.testing.assert_close(torch.stack(parts), GOLDEN["mv_parts"], **CLOSE)


def test_label_distributions_are_the_published_ones():
    for name, sigma, label in (("f", 2, FLOAT), ("i", 2, WHOLE), ("f15", 1.5, FLOAT)):
        torch.testing.assert_close(gaussian_density(near(label), sigma), GOLDEN[f"dldl2_{name}_target"], **CLOSE)
    for name, phi, label in (("l1_f", "l1", FLOAT), ("l1_i", "l1", WHOLE), ("l2_f", "l2", FLOAT)):
        torch.testing.assert_close(ordinal_softmax(near(label), phi), GOLDEN[f"sord_{name}_target"], **CLOSE)
    for name, sigma in (("2", 2), ("075", 0.75)):
        found = gaussian_bins(near(FLOAT), sigma)
        torch.testing.assert_close(found, GOLDEN[f"hlg_{name}_target"], **CLOSE)
        torch.testing.assert_close(found @ torch.arange(20.0).double(), GOLDEN[f"hlg_{name}_target_mean"], **CLOSE)
        beyond = gaussian_bins(near(GOLDEN["hlg_out_y"]), sigma)
        torch.testing.assert_close(beyond, GOLDEN[f"hlg_{name}_out_target"], **CLOSE)


def test_a_label_beyond_the_range_counts_as_the_first_or_last_level():
    module, output = head_of("hl_gauss"), GOLDEN["logits"]
    first, last = (module.loss([output], torch.full((8, 1), value, dtype=torch.float64)) for value in (0.0, 19.0))
    assert module.loss([output], torch.full((8, 1), -40.0, dtype=torch.float64)) == first != last
    assert module.loss([output], torch.full((8, 1), 60.0, dtype=torch.float64)) == last


def test_published_corn_takes_the_next_level_and_ours_the_nearest():
    output = logits("logits_bin")
    loss = losses.conditional_ranks(output, above(FLOAT))
    torch.testing.assert_close(loss, GOLDEN["corn_floatlabels_loss"], **CLOSE)
    module = head_of("corn")
    assert module.loss([output], FLOAT[:, None]) == module.loss([output], FLOAT.round()[:, None]) != loss
    assert torch.nn.functional.pad(above(), (1, 0), value=1)[:, :-1].sum() == GOLDEN["corn_n"]
    torch.testing.assert_close(module.axis_heads()[0].above(output), GOLDEN["corn_cum"], **CLOSE)


def test_corn_has_the_posterior_of_its_ranks():
    posterior = head_of("corn").posteriors([GOLDEN["logits_bin"]])[0]
    assert posterior.min() >= 0
    torch.testing.assert_close(posterior.sum(-1), torch.ones(8).double())
    torch.testing.assert_close(posterior @ torch.arange(20.0).double(), GOLDEN["corn_pred_sum"], **CLOSE)


def test_the_layer_of_coral_starts_and_learns_as_published():
    bias = example_model(example_config("ordinal", axes=1)).head.axis_heads()[0].bias
    torch.testing.assert_close(bias, torch.arange(59, 0, -1) / 59)
    layer = head_of("ordinal").axis_heads()[0]
    torch.testing.assert_close(layer.bias.detach(), GOLDEN["coral_layer_bias"], rtol=0, atol=1e-6)  # there in float32
    features = GOLDEN["features"].clone().requires_grad_()
    layer.linear.weight.data, layer.bias.data = (
        GOLDEN["coral_layer_w"][None].clone(),
        GOLDEN["coral_layer_bias"].clone(),
    )
    output = layer(features)
    torch.testing.assert_close(output, GOLDEN["coral_layer_logits"], **CLOSE)
    loss = losses.ranks(output, above())
    torch.testing.assert_close(loss, GOLDEN["coral_layer_loss"], **CLOSE)
    grads = torch.autograd.grad(loss, (features, layer.linear.weight, layer.bias))
    for grad, name in zip(grads, ("gfeat", "gw", "gbias"), strict=True):
        torch.testing.assert_close(grad, GOLDEN[f"coral_layer_{name}"].view_as(grad), **CLOSE)


@pytest.mark.parametrize(("name", "beta"), [("0", 0.0), ("05", 0.5), ("1", 1.0)])
def test_beta_nll_of_images_and_its_gradients(name, beta):
    mean, spread = (GOLDEN[x][:, 0].clone().requires_grad_() for x in ("pred", "bnll_var"))
    own = [losses.beta_nll(*(x[i : i + 1] for x in (mean, spread, FLOAT)), beta) for i in range(8)]
    torch.testing.assert_close(torch.stack(own), GOLDEN[f"bnll_{name}_loss"], **CLOSE)
    loss = losses.beta_nll(mean, spread, FLOAT, beta)
    for grad, of in zip(torch.autograd.grad(loss, (mean, spread)), ("gmean", "gvar"), strict=True):
        torch.testing.assert_close(grad, GOLDEN[f"bnll_{name}_{of}"][:, 0], **CLOSE)


def test_the_published_layer_of_beta_nll():
    head = head_of("gaussian").axis_heads()[0]
    head.linear = torch.nn.Linear(16, 2, dtype=torch.float64)
    head.linear.weight.data = torch.stack([GOLDEN["bnll_head_wm"], GOLDEN["bnll_head_wv"]])
    head.linear.bias.data = torch.cat([GOLDEN["bnll_head_bm"], GOLDEN["bnll_head_bv"]])
    output = head(GOLDEN["features"])
    torch.testing.assert_close(output[:, :1], GOLDEN["bnll_head_mean"], **CLOSE)
    torch.testing.assert_close(variance(output[:, 1:]), GOLDEN["bnll_head_var"], **CLOSE)
    torch.testing.assert_close(head.decode_levels(output)["mean"], 10 + 10 * GOLDEN["bnll_head_mean"][:, 0], **CLOSE)
    assert head.loss_inputs("beta_nll", output, FLOAT)[2].allclose(FLOAT / 10 - 1)


def test_softmax_and_decoders_are_those_of_the_benchmark():
    torch.testing.assert_close(GOLDEN["logits"].softmax(-1), GOLDEN["softmax_post"], **CLOSE)
    assert torch.equal(decoders.median(GOLDEN["logits"]).long(), GOLDEN["softmax_pred_mae"])
    tie = torch.tensor([[1.0, 1.0, 1.0, 1.0]]).log()
    assert decoders.median(tie) == 1  # both middle levels have the least expected distance: the first


def weighted(name):
    """A new loss on the golden inputs as a function of weights; and the losses of its images, without any."""
    z, b, index = GOLDEN["logits"], GOLDEN["logits_bin"], GOLDEN["labels_i"]
    near_, soft = near(FLOAT), gaussian_density(near(FLOAT), 2)
    return {
        "ranks_clamped": (b, above()),
        "conditional_ranks": (b, above()),
        "ce_distribution": (z, soft),
        "ce_l1": (z, soft, near_, 1.0),
        "mean_variance": (z, index, near_, 0.2, 0.05),
        "unimodal": (z, near_, 1000.0),
        "beta_nll": (GOLDEN["pred"][:, 0], GOLDEN["bnll_var"][:, 0], FLOAT, 0.5),
    }[name]


@pytest.mark.parametrize(
    "name", ["ranks_clamped", "conditional_ranks", "ce_distribution", "ce_l1", "mean_variance", "unimodal", "beta_nll"]
)
def test_an_image_counts_by_its_weight(name):
    loss, inputs = losses.LOSSES[name], weighted(name)
    torch.testing.assert_close(loss(*inputs, weights=torch.ones(8).double()), loss(*inputs), **CLOSE)
    each = torch.stack([loss(*inputs, weights=row) for row in torch.eye(8).double()])
    weights = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(*inputs, weights=weights), (weights * each).sum())
    torch.testing.assert_close(each.sum(), loss(*inputs))
    assert each.min() != each.max()

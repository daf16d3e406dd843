from pathlib import Path

import numpy as np
import pytest
import torch

from bel.codes.library import CODES, code_matrix
from bel.heads import decoders as decode
from bel.heads import losses

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "decode_loss.npz"))
CASES = sorted({key.split("/")[0] for key in GOLDEN})


def case(name):
    code, levels = name.rsplit("_", 1)
    golden = {
        key.split("/")[1]: torch.from_numpy(np.asarray(v)) for key, v in GOLDEN.items() if key.startswith(f"{name}/")
    }
    matrix = torch.from_numpy(code_matrix(code, int(levels))).float()
    return code, matrix, golden, decode.scores(golden["logits"], matrix)


@pytest.mark.parametrize("name", CASES)
def test_decoders_equal_the_published_ones(name):
    code, _, golden, scores = case(name)
    assert torch.equal(decode.argmax(scores).long(), golden["gen"])
    torch.testing.assert_close(decode.expected(scores), golden["genex"], rtol=1e-5, atol=1e-4)
    native = decode.native(golden["logits"], scores, code)
    changed = (golden["logits"] <= 0).all(-1) if code == "j" else torch.zeros(len(native), dtype=torch.bool)
    torch.testing.assert_close(native[~changed], golden["special"].float()[~changed], rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_the_published_ones(name):
    _, matrix, golden, scores = case(name)
    level = decode.expected(scores)
    ours = {
        "bce_sum": losses.bce(golden["logits"], matrix[golden["index"]]),
        "ce_sum": losses.ce(scores, golden["index"]),
        "mse_mean": losses.mse(level, golden["label"]),
        "l1_mean": losses.l1(level, golden["label"]),
    }
    for key, value in ours.items():
        torch.testing.assert_close(value, golden[key].float().reshape(()), rtol=2e-6, atol=1e-5, msg=key)


def test_every_golden_array_is_compared():
    used = {"logits", "label", "index", "special", "gen", "genex", "bce_sum", "ce_sum", "mse_mean", "l1_mean"}
    assert {key.split("/")[1] for key in GOLDEN} == used


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("levels", [2, 26, 150, 200])
def test_perfect_logits_decode_to_their_own_level(name, levels):
    matrix = torch.from_numpy(code_matrix(name, levels)).float()
    logits = 40 * (2 * matrix - 1)
    scores = decode.scores(logits, matrix)
    level = torch.arange(levels).float()
    for decoder in decode.DECODERS.values():
        torch.testing.assert_close(decoder(logits, scores, name), level)


def test_posterior_is_the_bernoulli_likelihood():
    matrix = torch.from_numpy(code_matrix("b1jdj", 26)).double()
    logits = torch.randn(5, matrix.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.sigmoid()[:, None]
    likelihood = torch.where(matrix[None] == 1, p, 1 - p).prod(-1)
    torch.testing.assert_close(decode.scores(logits, matrix).softmax(-1), likelihood / likelihood.sum(-1, keepdim=True))


def test_all_negative_johnson_word_is_level_zero():
    assert decode.native_johnson(torch.full((1, 75), -1.0)).item() == 0

from pathlib import Path

import numpy as np
import pytest
import torch

from bel.codes.library import CODES, code_matrix
from bel.heads import decoders as decode
from bel.heads import losses
from bel.heads.decoders import circular_expected, circular_mean, expected, native_johnson, native_ring

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


def test_the_circular_mean_goes_round_the_seam():
    scores = torch.full((3, 8), -40.0)
    scores[0, [7, 0]], scores[1, [6, 7, 0]], scores[2, 3] = 0.0, 0.0, 0.0
    assert circular_expected(scores).tolist() == pytest.approx([7.5, 7, 3], abs=1e-5)
    assert expected(scores[:1]).item() == pytest.approx(3.5)  # where levels do not wrap


def test_weights_that_cancel_have_a_mean_with_a_finite_gradient():
    weights = torch.zeros(1, 4, requires_grad=True)
    mean = circular_mean(weights, torch.arange(4), 4)
    mean.sum().backward()
    assert mean.item() == 0 and weights.grad.isfinite().all()


@pytest.mark.parametrize("levels", [2, 4, 6, 8, 72, 360])
def test_the_johnson_words_are_cyclic_and_read_so(levels):
    words = torch.from_numpy(code_matrix("j", levels)).float()
    assert (words != words.roll(-1, 0)).sum(1).tolist() == [1] * levels  # from the last level to the first too
    assert native_ring(2 * words - 1).tolist() == list(range(levels))
    assert native_johnson(2 * words - 1).tolist() == list(range(levels))


def test_a_wrong_bit_moves_the_cyclic_reading_alike_at_every_level():
    """The words of all levels are one run on a ring, so that the same wrong place of it moves each by as much."""
    levels, width = 24, 12
    words = torch.from_numpy(code_matrix("j", levels)).float()
    moved = set()
    for level in range(levels):
        ring = torch.cat([words[level], 1 - words[level]])  # of all levels the same but turned
        start = next(i for i in range(levels) if ring[i] == 1 and ring[i - 1] == 0)
        wrong = (start + 2) % levels  # the third of the run; its complement is on the other side
        read = ring.clone()
        read[wrong], read[(wrong + width) % levels] = 0, 1
        found = native_ring(2 * read[None, :width] - 1).item()
        moved.add(round((found - level + 12) % 24 - 12))
    assert len(moved) == 1

"""Wrong bits by level, beside the code that was trained."""

import numpy as np
import pytest

from bel.codes.library import code_matrix
from bel.errors import UserError
from results.analysis.leaderboard import boards
from results.report.figures_codes import draw_codes, wrong_shares
from results.store.artifacts import fetch_predictions


def test_wrong_bits_of_levels_are_those_of_the_images(swept_runs):
    found = [s.configuration for s in boards(swept_runs[1])[0].standings if "code" in s.configuration.params]
    one = found[0]
    stored = fetch_predictions(one.runs[0])
    for i, name in enumerate(stored.axes):
        share, overall = wrong_shares(one)[name]
        assert share.shape == (int(one.params[f"levels_{name}"]), int(one.params[f"bits_{name}"]))
        level = stored.levels[0, i]
        assert share[level] == pytest.approx(stored.wrong_bits[name][stored.levels[:, i] == level].mean(0))
        assert overall == pytest.approx(stored.wrong_bits[name].mean())
        assert np.isnan(share).all(1).sum() == len(share) - len(set(stored.levels[:, i].tolist()))
    assert draw_codes(one).startswith(b"\x89PNG")


def test_a_code_in_a_file_is_drawn_only_while_it_is_the_one_that_was_trained(swept_runs, tmp_path):
    standings = boards(swept_runs[1])[0].standings
    one = next(s.configuration for s in standings if s.configuration.params.get("code") == "u")
    sizes = {int(size) for name, size in one.params.items() if name.startswith("levels_")}
    one.runs[0].data.params["code"] = f"file:{tmp_path}/{{levels}}.npy"
    with pytest.raises(UserError, match="cannot read the code file"):
        draw_codes(one)
    for levels in sizes:
        np.save(tmp_path / f"{levels}.npy", code_matrix("u", levels))
    assert draw_codes(one).startswith(b"\x89PNG")
    for levels in sizes:
        np.save(tmp_path / f"{levels}.npy", 1 - code_matrix("u", levels))
    with pytest.raises(UserError, match=r"another code of .* than the one that was trained"):
        draw_codes(one)

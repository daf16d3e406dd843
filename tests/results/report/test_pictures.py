"""Wrong bits by level, beside the code that was trained; which images are shown, and how."""

import io

import numpy as np
import pytest
from PIL import Image

from bel.codes.library import code_matrix
from bel.config import TrainConfig
from bel.errors import UserError
from results.analysis.leaderboard import boards
from results.report.pictures import draw_codes, jpeg, median_rows, target_text, tiles, worst_rows, wrong_shares
from results.store.runs import fetch_predictions


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


def test_the_worst_images_are_the_worst_and_few_of_a_group(swept_runs, monkeypatch):
    leader = boards(swept_runs[1])[0].leader
    first = leader.seeds[0]
    errors = first.mean_errors()
    picked = worst_rows(first, errors)
    assert len(picked) == 8 and errors[picked].tolist() == sorted(errors)[::-1][:8], "one group: all may be of it"
    assert errors[median_rows(errors)].tolist() == sorted(errors)[4:8]
    monkeypatch.setattr(TrainConfig, "cache_dir", "elsewhere")  # the sweep's own has its images
    bad, _ = tiles(leader, {})
    assert [tile.name for tile in bad] == first.names[picked].tolist()
    assert all(tile.content.startswith(b"\xff\xd8") for tile in bad) and f"{errors[picked[0]]:.2f} deg" in bad[0].text
    many = first.take(np.tile(np.arange(12), 10))
    object.__setattr__(many, "groups", np.repeat([f"{i:02d}" for i in range(10)], 12))
    taken = many.groups[worst_rows(many, np.arange(120.0))].tolist()
    assert max(map(taken.count, taken)) == 2 and len(taken) == 8


def test_a_target_that_is_no_pose_has_one_picture_and_its_numbers(swept_runs):
    pixels = np.full((34, 40, 3), 90, np.uint8)
    sizes = [Image.open(io.BytesIO(jpeg(pixels, poses))).size for poses in ([], [(1, 2, 3), (4, 5, 6)])]
    assert sizes[0][0] == sizes[0][1] and sizes[1][0] > 2 * sizes[0][0]
    assert target_text(12.345, {"unit": "deg"}) == "12.3" and target_text(0.012345, {"unit": "m"}) == "0.01235"

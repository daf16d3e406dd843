"""Which images are shown, and how."""

import io

import numpy as np
from PIL import Image

from bel.config import TrainConfig
from results.analysis.leaderboard import boards
from results.report.figures_images import jpeg, median_rows, target_text, tiles, worst_rows


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

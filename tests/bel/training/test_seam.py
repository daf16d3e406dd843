"""Rendered heads turned through a whole circle: where the levels of a code begin, its error has a peak or none."""

import pytest

from bel.data.synthetic import synthesise
from tests.benchmarks.seam import CONTENDERS, near_and_elsewhere, near_seam, validation


@pytest.mark.slow
def test_a_cyclic_code_has_no_peak_of_error_at_its_seam_and_the_unary_code_has_one(tmp_path, cache):
    """Two trainings; ratios of the error near the seam to the one elsewhere on two kinds of CPU: j 1.10, 1.02; u 1.64, 1.25."""
    synthesise("csv", tmp_path, subjects=60, frames=24, size=64, seed=0, roll=180)
    fields = {"data_root": str(tmp_path), "cache_dir": str(cache), "code_bits": 72}
    ratio = {}
    for code in ("j", "u"):
        found = validation(fields | CONTENDERS[code])
        near, elsewhere = near_and_elsewhere(found)
        ratio[code] = near / elsewhere
        assert near_seam(found.targets[:, 0]).sum() > 30 and elsewhere < 30
        values = found.predictions[found.headline]
        assert values.min() >= -180 and values.max() < 180
    assert ratio["j"] < 1.2 and ratio["u"] > 1.1 * ratio["j"]

"""The study that is in the project: its files are whole, its errors are those that were logged, its tables are of its files."""

import shutil

import numpy as np
import pytest

from results.analysis.study_files import CONTENDERS, PREDICTIONS, read_study
from results.commands import main as command
from tests.conftest import PROJECT

FOLDER = PROJECT / "results" / "study"
TASKS = read_study(FOLDER)
LARGEST = 2_500_000  # bytes of a task's predictions


@pytest.mark.parametrize("name", TASKS)
def test_errors_are_those_that_the_folds_logged(name):
    for one in TASKS[name].contenders:
        for seed in {run["seed"] for run in one.runs}:
            folds = [run for run in one.runs if run["seed"] == seed]
            assert sorted(run["fold"] for run in folds) == [str(i) for i in range(int(one.params["folds"]))]
        logged = np.average([run["val_mae"] for run in one.runs], weights=[run["images"] for run in one.runs])
        assert one.errors.image_mae == pytest.approx(logged, rel=2e-6)  # stored in single precision
        assert one.value in one.tuning and one.tuning[one.value] == min(one.tuning.values())


@pytest.mark.parametrize("name", TASKS)
def test_files_are_small_and_hold_no_path(name):
    assert (FOLDER / name / PREDICTIONS).stat().st_size < LARGEST
    assert not {"data_root", "cache_dir"} & set(TASKS[name].contenders[0].params)
    assert '"/' not in (FOLDER / name / CONTENDERS).read_text()


def test_every_table_is_made_again_from_the_files(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "study", ignore=shutil.ignore_patterns("*.png"))
    assert command.main(["study", str(tmp_path / "study")]) == 0
    assert (tmp_path / "study" / "README.md").read_text() == (FOLDER / "README.md").read_text()
    drawn = {path.relative_to(tmp_path / "study") for path in tmp_path.rglob("*.png")}
    assert drawn == {path.relative_to(FOLDER) for path in FOLDER.rglob("*.png")}

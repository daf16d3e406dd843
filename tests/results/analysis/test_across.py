"""Ranks, ratios and differences of a study, against figures by hand."""

import numpy as np
import pytest

from bel.errors import UserError
from results.analysis import across
from results.analysis.study import StudyContender, Task, kept
from results.analysis.study_rows import claim_verdict, plain
from results.tables.study import claim_cell, filled, rank_table, tables, task_table
from tests.results.made import predictions_of

RANDOM = np.random.default_rng(3)


def task(name, levels, groups, **errors):
    """A task whose contenders have these errors by group, an image a group."""
    contenders = [
        StudyContender(f"{method.replace('_ce', '')}-{levels} ce", {"loss": "ce"}, "lr", "0.1", {"0.1": 1.0},
               "expected", {"expected": float(np.mean(values))}, [{"test_mae": 1.0}], ["00001"],
               (kept(predictions_of(np.asarray(values)[:, None], range(groups)), "expected"),))
        for method, values in errors.items()
    ]  # fmt: skip
    return Task(name, sorted(contenders, key=lambda one: one.errors.mae))


def test_critical_difference_is_that_of_the_paper():
    """Demsar 2006, section 3.2.2: four classifiers on 14 data sets, CD = 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25."""
    found = across.average_ranks(task("x", 10, 14, **{f"m{i}": RANDOM.random(14) for i in range(4)}))
    assert found.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.groups == 14 and sum(found.ranks) == pytest.approx(10) and found.ranks == sorted(found.ranks)


def test_ranks_are_counted_within_groups():
    found = across.average_ranks(task("x", 10, 6, a=[1, 1, 1, 1, 1, 9], b=[2, 2, 2, 2, 2, 2], c=[3, 3, 3, 3, 2, 1]))
    by_hand = {"a-10 ce": 8 / 6, "b-10 ce": 12.5 / 6, "c-10 ce": 15.5 / 6}
    assert dict(zip(found.names, found.ranks, strict=True)) == pytest.approx(by_hand)


def test_a_ratio_has_the_interval_of_its_draws():
    groups = 400
    base = RANDOM.gamma(4, 1, groups)
    ours = 0.8 * base + RANDOM.normal(0, 0.3, groups) + 0.2
    both = task("x", 10, groups, a=ours, b=base)
    found = across.ratio(both.find("a ce"), both.find("b ce"))
    picks = RANDOM.integers(0, groups, (4000, groups))
    draws = 100 * (np.abs(ours)[picks].mean(1) / base[picks].mean(1) - 1)
    assert found.mean == pytest.approx(100 * (np.abs(ours).mean() / base.mean() - 1), abs=1e-4)
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.3)


def test_a_difference_holds_only_where_every_task_shows_it():
    noise = RANDOM.normal(0, 0.05, (3, 20))
    one = task("one", 150, 20, a=1 + noise[0], b=2 + noise[1], c=3 + noise[2])
    other = task("other", 100, 20, a=1 + noise[1], b=3 + noise[2], c=2 + noise[0], d=9 + noise[0])
    held = {(better, worse) for better, worse, _ in across.that_hold([one, other])}
    assert held == {("a ce", "b ce"), ("a ce", "c ce")} and across.methods_of_all([one, other]) == [
        "a ce",
        "b ce",
        "c ce",
    ]


def test_the_best_by_target_are_of_the_images_in_the_bin():
    targets = np.repeat([-60.0, 60.0], 30)[:, None]
    both = task("x", 10, 60, a=np.repeat([1.0, 5.0], 30), b=np.repeat([4.0, 2.0], 30))
    for one in both.contenders:
        one.seeds[0].values["target"][:] = targets
        one.seeds[0].values["predicted"][:] += targets
    rows = list(across.best_by_target(both))
    assert [found[0] for *_, found in rows] == [("a-10 ce", pytest.approx(1)), ("b-10 ce", pytest.approx(2))]
    assert [count for *_, count, _ in rows] == [30, 30]


@pytest.mark.parametrize(
    ("mean", "interval", "claimed", "verdict"),
    [
        (-12.0, (-20.0, -5.0), -10.9, "confirmed"),
        (-4.0, (-6.0, -2.0), -10.9, "confirmed, smaller than claimed"),
        (3.0, (1.0, 5.0), -10.9, "refuted"),
        (-3.0, (-8.0, 2.0), -10.9, "open: no difference shown, smaller than claimed"),
        (-3.0, (-12.0, 6.0), -10.9, "open: no difference shown"),
        (4.0, (1.0, 7.0), None, "refuted"),
        (1.0, (-2.0, 4.0), None, "open: no difference shown"),
        (-5.0, (-8.0, -2.0), None, "confirmed: it is better"),
        (1.0, None, None, "open"),
    ],
)
def test_a_claim_is_judged_by_the_interval(mean, interval, claimed, verdict):
    found = across.Difference(mean, interval)
    cell = claim_cell(plain(found) | {"verdict": claim_verdict(found, claimed)})
    assert cell.startswith(f"{mean:+.1f} %") and cell.endswith(f": {verdict}")


def test_tables_fill_a_readme_and_fill_it_again_to_the_same():
    made = tables({"pose": task("pose", 150, 8, rlel=RANDOM.random(8), classification=RANDOM.random(8))})
    found = {name: table.text for name, table in made.items()}
    text = "# S\n<!-- table: pose -->\nold\n<!-- end -->\nprose\n<!-- table: claims -->\n<!-- end -->\n"
    once = filled(text, found, pytest.fail)
    assert "\nold\n" not in once and "\nprose\n" in once and "rlel-150 ce" in once and "rlel -12.4 % against" in once
    assert filled(once, found, pytest.fail) == once
    asked = []
    filled("<!-- table: nothing -->\n<!-- end -->\n", found, asked.append)
    assert asked == ["nothing"]


def test_groups_that_tuned_are_left_out_beside_the_mean():
    both = task("x", 10, 4, a=[1, 9, 2, 3], b=[4, 4, 4, 4])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in task_table(both).text.splitlines()]
    column = rows[0].index("not tuned on")
    assert [(row[1], row[4], row[column]) for row in rows[2:]] == [
        ("a-10 ce", "3.750", "2.000"),
        ("b-10 ce", "4.000", "4.000"),
    ]


def test_places_are_counted_among_the_methods_of_all_tasks():
    one = task("one", 10, 6, only=[1] * 6, a=[2] * 6, b=[3] * 6)
    other = task("other", 10, 6, b=[1] * 6, a=[2] * 6)
    rows = [[cell.strip(" =") for cell in line.split("|")[1:-1]] for line in rank_table([one, other]).text.splitlines()]
    assert rows[2:] == [["a ce", "1", "2", "1.5"], ["b ce", "2", "1", "1.5"]]


def test_a_table_without_an_end_replaces_no_line():
    text = "# S\n<!-- table: a -->\nprose\n<!-- table: b -->\nold\n<!-- end -->\ntail\n"
    wanted = "# S\n<!-- table: a -->\nA\n<!-- end -->\nprose\n<!-- table: b -->\nB\n<!-- end -->\ntail\n"
    assert filled(text, {"a": "A", "b": "B"}, pytest.fail) == wanted


def test_sizes_without_classification_have_no_ratio():
    whole = task("pose", 150, 8, rlel=RANDOM.random(8), direct=RANDOM.random(8))
    table = tables({"pose": whole, "pose/size/half": whole})["size"].text
    assert "rlel ce" in table and "%" not in table
    with_one = task("pose", 150, 8, rlel=RANDOM.random(8), classification=RANDOM.random(8))
    assert tables({"pose/size/half": with_one})["size"].text.count("; classification ce") == 1


def test_regularisers_are_compared_on_the_images_of_their_task():
    whole, fewer = (task("pose", 150, count, rlel=RANDOM.random(count)) for count in (8, 7))
    with pytest.raises(UserError, match="task pose is compared with task pose, which is not there: add a sweep with"):
        tables({"pose/regularisers": whole})
    with pytest.raises(UserError, match="are not of the same images"):
        tables({"pose": whole, "pose/regularisers": fewer})

"""What a search learns from trials of other sweeps, with Optuna's own samplers and studies."""

from statistics import median

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from bel.errors import UserError
from bel.run_layout import Outcome
from launch.runs import Run
from launch.schedule.guide import Guide, Told
from launch.schedule.studies import journal, open_study
from launch.schedule.suggestions import StudySource
from launch.spec.combinations import make_plan
from launch.warm_start.mapping import map_fields
from tests.benchmarks.warm_start import EARLIER, grid_pair, replays
from tests.launch.schedule.test_searcher import entries
from tests.launch.spec.test_sweep_file_and_sampling import BASE, sweep

BOX = {"lr": {"loguniform": [1e-5, 1e-3]}, "flip": {"uniform": [0, 0.5]}}
MIXED = {"lr": {"loguniform": [1e-5, 1e-3]}, "code": {"choice": ["u", "j", "hex16"]}}


def made(space, method="tpe", trials=30):
    search = {"method": method, "trials": trials, "seed": 1}
    return sweep(space, BASE | {"head": "bel"} | ({} if "code" in space else {"code": "u"}), search=search)


def one(values, error, source="a", exact=False, outcome=Outcome.FINISHED):
    return Told(source, ("r",), values, outcome, () if outcome == Outcome.DIVERGED else (error,), 9, exact)


def near(center, number=40):
    """What an earlier sweep measured, with errors ten times those of ours and the best at `center` and code j."""
    generator = np.random.default_rng(0)
    rates = np.exp(generator.uniform(np.log(1e-5), np.log(1e-3), number))
    codes = ["u", "j", "hex16"]
    return [
        one({"code": codes[n % 3], "lr": float(r)}, 50 + 10 * abs(np.log(r / center)) + 20 * (n % 3 != 1))
        for n, r in enumerate(rates)
    ]


def source_of(s, told, kept=None):
    study = open_study(s, "t", journal(kept) if kept else InMemoryStorage())
    return StudySource(s, make_plan(s), study, s.search.trials, told)


def end(source, config, error):
    run = Run(str(config), config, "", {"val_groups": "2"}, str(config), entries(error))
    run.outcome = Outcome.FINISHED
    source.tell(config, [run])


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_first_suggestions_lie_where_another_sweep_was_best_and_its_trials_are_none_of_the_study(method):
    source = source_of(made(MIXED, method), near(3e-4))
    first = []
    for _ in range(6):
        first.append(source.ask())
        end(source, first[-1], 5 + abs(np.log(first[-1].lr / 3e-4)) + 2 * (first[-1].code != "j"))
    assert sum(config.code == "j" for config in first) >= 4
    assert median(abs(np.log(config.lr / 3e-4)) for config in first) < 1, "of 4.6 from end to end"
    assert len(source.study.get_trials()) == 6 and all("values" in t.user_attrs for t in source.study.get_trials())


def test_cma_es_begins_in_the_best_tenth_of_another_sweep():
    told = [one({"lr": float(r), "flip": float(f)}, 50 + 10 * abs(np.log(r / 1e-4)) + 40 * abs(f - 0.4))
            for r in np.geomspace(1e-5, 1e-3, 10) for f in np.linspace(0, 0.5, 10)]  # fmt: skip
    source = source_of(made(BOX, "cmaes"), told)
    asked = []
    for _ in range(8):
        asked.append(source.ask())
        end(source, asked[-1], 5.0)
    later = asked[1:]  # the first one is drawn
    assert median(abs(config.flip - 0.4) for config in later) < 0.12, "a draw is as far as 0.2 in the mean"
    assert median(abs(np.log(config.lr / 1e-4)) for config in later) < 0.8, "of 4.6 from end to end"


def test_errors_of_other_data_are_put_on_the_scale_of_ours_and_exact_ones_stay():
    s = made(MIXED)
    plan, guide = make_plan(s), Guide([*near(3e-4), one({"code": "u", "lr": 5e-4}, 7.0, "b", exact=True)])
    assert [t.value for t in guide.trials(s, plan, [])] == [t.results[0] for t in guide.told], (
        "nothing to compare with yet"
    )
    source = StudySource(s, plan, open_study(s, "t", InMemoryStorage()), 30, ())
    for _ in range(5):
        config = source.ask()
        nearest = min(
            near(3e-4), key=lambda t: (t.values["code"] != config.code) + abs(np.log(t.values["lr"] / config.lr)) / 4.6
        )
        end(source, config, nearest.results[0] / 10)
    *scaled, exact = guide.trials(s, plan, source.study.get_trials())
    assert [t.value for t in scaled] == pytest.approx([t.results[0] / 10 for t in near(3e-4)]) and exact.value == 7


def test_stopped_and_diverged_ones_rank_behind_those_that_finished():
    s = made(MIXED)
    guide = Guide([one({"code": "u", "lr": 1e-4}, 3.0, outcome=o) for o in (Outcome.STOPPED, Outcome.DIVERGED)])
    stopped, diverged = guide.trials(s, make_plan(s), [])
    assert (stopped.state, stopped.intermediate_values, diverged.intermediate_values) == (
        TrialState.PRUNED,
        {9: 3.0},
        {},
    )


def test_a_later_call_suggests_what_one_call_would_have(tmp_path):
    s, told = made(MIXED, trials=8), near(3e-4)
    whole, parts = source_of(s, told), tmp_path / "optuna.journal"
    wanted = []
    while config := whole.ask():
        wanted.append(config)
        end(whole, config, 5 + abs(np.log(config.lr / 3e-4)))
    found = []
    for _ in range(8):
        again = source_of(s, told, parts)
        found.append(again.ask())
        end(again, found[-1], 5 + abs(np.log(found[-1].lr / 3e-4)))
    assert [str(c) for c in found] == [str(c) for c in wanted]
    assert source_of(s, told, parts).ask() is None, "what it is told counts as no trial"


def test_what_does_not_map_is_drawn_and_a_number_outside_has_no_place():
    s, generator = made(MIXED), np.random.default_rng(0)
    plan = make_plan(s)
    assert map_fields(s, plan, {"code": "j", "lr": 1e-4}, generator) == ({"code": "j", "lr": 1e-4}, ())
    drawn = [map_fields(s, plan, {"code": "had", "lr": 1e-4}, generator) for _ in range(30)]
    assert {values["code"] for values, _ in drawn} == {"u", "j", "hex16"}
    assert all(values["lr"] == 1e-4 and names == ("code",) for values, names in drawn)
    for fields, says in (
        ({"code": "u", "lr": 1e-2}, "lr is outside its interval"),
        ({"code": "had", "lr": None}, "none of its values is in the space"),
    ):
        with pytest.raises(UserError, match=says):
            map_fields(s, plan, fields, generator)


def test_a_search_that_learns_from_another_one_needs_fewer_trials_of_a_recorded_grid():
    pair, seeds = grid_pair(), range(12)
    warm, cold = replays(pair, EARLIER, seeds), replays(pair, 0, seeds)
    assert median(warm) < 0.8 * median(cold)

import json
import re

import mlflow
import pytest

from bel.errors import UserError
from bel.run_layout import EXPERIMENT_KIND
from results.commands.leaderboard import publish
from results.commands.main import main
from results.store import ui_links as views
from results.store.description import BEGIN, END, LEAD, described, show_view
from results.store.ui_links import LOCAL, MOST, VIEW, charts_link, comparison_link, keep_view
from tests.conftest import children

NOTE = "mlflow.note.content"
START = f"{LEAD}\n\nthree heads on rendered heads\n\n"


def notes(parent):
    """The descriptions of a parent run and of its experiment."""
    client = mlflow.MlflowClient()
    tags = client.get_run(parent.info.run_id).data.tags, client.get_experiment(parent.info.experiment_id).tags
    return [one[NOTE] for one in tags]


def test_the_view_of_a_sweep_is_there_when_it_ends(swept_store):
    parent, _ = children("fixture")
    tags = mlflow.get_experiment(parent.info.experiment_id).tags
    assert VIEW + parent.info.run_id in tags and tags[EXPERIMENT_KIND] == "custom_model_development"
    for note in notes(parent):
        assert note.startswith(START + BEGIN) and note.endswith(END)
        assert f"[charts]: {views.view_link(parent)}\n[table]: " in note and "|" not in note
    publish(parent, "\n| rows |\n| --: |")
    before = notes(parent)
    show_view(mlflow.get_run(parent.info.run_id))
    assert notes(parent) == before and "| rows |" in before[0], "what was published stays"


def test_a_leaderboard_is_published_below_the_description_and_replaced(swept_store, capsys):
    parent, _ = children("fixture")
    assert main(["leaderboard", "fixture", "--publish"]) == 0
    first = notes(parent)
    for note in first:
        assert note.startswith(START + BEGIN) and note.endswith(END)
        assert len(re.findall(r"^\| [=?]?\d", note, re.M)) >= 10
    link = publish(parent, "| another |\n| --: |")
    for note in notes(parent):
        assert note.startswith(START + BEGIN) and "| another |" in note
        assert note.count(BEGIN) == note.count(END) == 1 and "| =2" not in note
    assert link == f"{LOCAL.format(port=5000)}/{views.view_link(parent)}"
    assert link.removeprefix("http://127.0.0.1:5000/") in notes(parent)[0]


def test_what_a_user_writes_around_it_stays(swept_store):
    parent, _ = children("fixture")
    publish(parent, "old")
    client = mlflow.MlflowClient()
    client.set_experiment_tag(
        parent.info.experiment_id, NOTE, f"mine\n\n{notes(parent)[1].split('heads')[-1]}\n\nbelow"
    )
    publish(parent, "new")
    about = notes(parent)[1]
    assert about.startswith(f"{LEAD}\n\nmine\n\n") and about.count(LEAD) == 1
    assert about.endswith(f"{END}\n\nbelow") and "new" in about and "old" not in about


def test_a_long_leaderboard_is_cut_after_a_row():
    rows = [f"| {number} | a configuration |" for number in range(1000)]
    note = described("about", "\n".join(rows), "[charts]: #/there", 8000)
    kept = re.findall(r"^\| \d+ \| a configuration \|$", note, re.M)
    assert len(note) <= 8000 and 250 < len(kept) < 1000 and note.endswith(f"[charts]: #/there\n\n{END}")
    assert f"{1000 - len(kept)} more lines are in `bel-results leaderboard`" in note
    assert described(note, "short", "links", 8000) == f"{LEAD}\n\nabout\n\n{BEGIN}\n\nshort\n\nlinks\n\n{END}"
    earlier = f"about\n\n{BEGIN}\n\nrows\n\nTrials: [charts](#/there)\n\n{END}"  # of an earlier version
    assert described(earlier, "short", "links", 8000) == described("about", "short", "links", 8000)
    with pytest.raises(UserError, match="at most 8000 characters"):
        described("x" * 8000, "rows", "links", 8000)


def test_the_view_holds_what_the_sweep_varies(swept_store):
    parent, trials = children("fixture")
    keep_view(parent, trials)
    tags = mlflow.MlflowClient().get_experiment(parent.info.experiment_id).tags
    state = json.loads(tags[VIEW + parent.info.run_id])
    columns = [
        "metrics.`val/best_mae_groups`",
        *(f"params.`{name}`" for name in ("head", "code", "loss", "lr", "code_bits")),
    ]
    assert state["selectedColumns"] == columns
    assert state["name"] == "fixture (random)", "the menu of views has it by this name"
    alone = json.loads(state["state"])
    assert alone == {name: state[name] for name in alone} and len(alone) == len(state) - 4, (
        "for earlier versions of the UI"
    )
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["BAR", "LINE", "PARALLEL", "PARALLEL", "LINE"]
    everywhere, some = (c["selectedParams"] for c in state["compareRunCharts"] if c["type"] == "PARALLEL")
    assert set(everywhere) <= set(some) and "lr" not in some, "a parameter that is the same everywhere tells nothing"
    assert "code" in some and "code" not in everywhere, "a run without a code is drawn in the other one"


def test_where_the_newest_sweep_is_seen(swept_store, capsys):
    parent, trials = children("fixture")
    assert views.main(["--port", "5005"]) == 0
    seen = capsys.readouterr().out.strip()
    assert seen == f"newest sweep, fixture (random): http://127.0.0.1:5005/{views.view_link(parent)}"
    client = mlflow.MlflowClient()
    client.delete_experiment_tag(parent.info.experiment_id, VIEW + parent.info.run_id)  # of an earlier version
    assert views.main(["--port", "5005"]) == 0
    assert capsys.readouterr().out.strip().endswith(charts_link(parent))
    keep_view(parent, trials)
    assert views.main([]) == 0
    assert capsys.readouterr().out.strip().endswith(f"http://127.0.0.1:5000/{views.view_link(parent)}")
    assert len(comparison_link(trials[:MOST])) < 1500


def test_an_address_has_no_password(monkeypatch):
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "https://me:secret@lab:5000/")
    assert views.ui_address() == "https://lab:5000"


def test_without_a_store_nothing_is_said(store, capsys):
    (store / "mlflow.db").unlink()
    assert views.main([]) == 0
    assert capsys.readouterr().out == "" and not list(store.iterdir())


def test_a_parent_knows_how_far_it_is_and_the_best_so_far(swept_store):
    parent, trials = children("fixture")
    client = mlflow.MlflowClient()
    part, best = (client.get_metric_history(parent.info.run_id, name) for name in ("progress", "best/val_mae_groups"))
    assert [point.step for point in part] == list(range(1, len(trials) + 1))
    assert part[-1].value == 1 and [point.value for point in part] == sorted(point.value for point in part)
    values = [point.value for point in sorted(best, key=lambda point: point.step)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == min(run.data.metrics["val/best_mae_groups"] for run in trials)

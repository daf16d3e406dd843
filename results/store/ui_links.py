"""Links into MLflow's UI to the trials of a sweep, and a view of them with the columns and charts that matter.

`python -m results.store.ui_links --port 5000` prints the address of the newest sweep's charts there (for `make ui`).
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH

from bel.errors import UserError, shown
from bel.run_layout import BY_IMAGE, OBJECTIVE, PARENT, SWEEP
from results.store.connect import connect
from results.store.runs import search, section_of

VIEW = "mlflow.sharedViewState."  # tags of an experiment, in which the UI's `Share view` keeps columns and charts
LOCAL = "http://127.0.0.1:{port}"  # of `make ui`
ALWAYS = ("head", "code", "loss", "lr")  # columns of every view
MOST = 20  # runs that an address names: a description has to hold it
SECTION = "sweep"  # the one section of the page, with the charts
OURS = {"isGenerated": False, "deleted": False}


def charts_link(parent: Run) -> str:
    """The trials of a sweep as charts, the best first, in a view of the UI's own: an address relative to the server's."""
    mode = {"orderByAsc": "true", "compareRunsMode": "CHART", "workflowType": "machine_learning"}
    query = search_state(parent) | mode
    return f"#/experiments/{parent.info.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def view_link(parent: Run, charts: bool = True) -> str:
    """The trials of a sweep in the view that `keep_view` keeps, as charts or as a table: a relative address."""
    mode = {"compareRunsMode": "CHART"} if charts else {}  # any facet beside it would make the UI ignore the view
    query = {"viewStateShareKey": parent.info.run_id} | mode | {"workflowType": "machine_learning"}
    return f"#/experiments/{parent.info.experiment_id}/runs?{urlencode(query)}"


def comparison_link(runs: Sequence[Run]) -> str:
    """Return the relative address of runs side by side, in parallel coordinates first."""
    experiments = sorted({run.info.experiment_id for run in runs})
    query = {"runs": json.dumps([run.info.run_id for run in runs]), "experiments": json.dumps(experiments)}
    return f"#/compare-runs?{urlencode(query, quote_via=quote)}"


def ui_address(port: int = 5000) -> str:
    """Return the address of the UI: the tracking server's, or where `make ui` serves a local store."""
    uri = shown(mlflow.get_tracking_uri())
    return uri.rstrip("/") if uri.startswith("http") else LOCAL.format(port=port)


def search_state(parent: Run, metric: str = OBJECTIVE) -> dict[str, Any]:
    """Return what the UI searches for, and by what it sorts."""
    return {"searchFilter": f"tags.{PARENT} = '{parent.info.run_id}'", "orderByKey": f"metrics.`{metric}`"}


def keep_view(parent: Run, runs: Sequence[Run]) -> None:
    """Keep columns and charts for the trials of a sweep in its experiment."""
    fields = varied_parameters(parent, runs)
    everywhere = [name for name in fields if all(name in run.data.params for run in runs)]
    older = any(BY_IMAGE in run.data.metrics and OBJECTIVE not in run.data.metrics for run in runs)
    metric = BY_IMAGE if older else OBJECTIVE
    state = search_state(parent, metric) | {
        "orderByAsc": True,
        "selectedColumns": [f"metrics.`{metric}`", *(f"params.`{name}`" for name in dict.fromkeys((*ALWAYS, *fields)))],
        "runsHiddenMode": "SHOW_ALL" if len(runs) <= 2 * MOST else "FIRST_20_RUNS",
        "compareRunCharts": charts([everywhere, fields] if everywhere != fields else [fields], metric),
        "compareRunSections": [{"uuid": SECTION, "name": "Sweep", "display": True, "isReordered": True} | OURS],
    }
    MlflowClient().set_experiment_tag(parent.info.experiment_id, VIEW + parent.info.run_id, named(parent, state))


def named(parent: Run, state: dict[str, Any]) -> str:
    """Return a view as JSON with the sweep's name, for the menu `Views`; earlier versions of the UI read its keys alone.

    Where that would be too long for a tag it has no name.
    """
    alone, now = json.dumps(state), int(time.time() * 1000)
    whole = json.dumps(state | {"name": parent.info.run_name, "createdAt": now, "updatedAt": now, "state": alone})
    return whole if len(whole) <= MAX_EXPERIMENT_TAG_VAL_LENGTH else alone


def varied_parameters(parent: Run, runs: Sequence[Run]) -> list[str]:
    """Name the config fields in which the trials of a sweep differ, of those that always count and that its YAML varies."""
    names = dict.fromkeys((*ALWAYS, *section_of(parent, "space")))
    return [name for name in names if len({run.data.params.get(name) for run in runs}) > 1]


def charts(coordinates: Sequence[Sequence[str]], metric: str) -> list[dict[str, Any]]:
    """Return bars, learning curves, and parallel coordinates of each list of parameters (runs without one are not drawn)."""
    curve = {"type": "LINE", "lineSmoothness": 0}
    error, loss = (
        curve | {"metricKey": name, "selectedMetricKeys": [name]}
        for name in (metric.replace("best_", ""), "train/loss")
    )
    parallel = [
        {"type": "PARALLEL", "selectedParams": list(names), "selectedMetrics": [metric], "showAllRuns": True}
        for names in coordinates
        if names
    ]
    parts: list[dict[str, Any]] = [{"type": "BAR", "metricKey": metric}, error, *parallel, loss]
    common = {"metricSectionId": SECTION, "runsCountToCompare": 100} | OURS
    return [common | {"uuid": f"{SECTION}-{number}"} | part for number, part in enumerate(parts)]


def newest_sweep() -> Run | None:
    """Find the parent run of the sweep that began last; None where there is none."""
    connect()
    found = search(None, f"tags.`{SWEEP}` LIKE '%'", max_results=1, order_by=["start_time DESC"])
    return found[0] if found else None


def main(argv: Sequence[str] | None = None) -> int:
    """Print where the newest sweep is seen; nothing where there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m results.store.ui_links", description="Where the newest sweep is seen."
    )
    parser.add_argument("--port", type=int, default=5000, help="of `make ui` (%(default)s)")
    port = parser.parse_args(argv).port
    try:
        parent = newest_sweep()
    except UserError:
        return 0
    if parent:
        tags = MlflowClient().get_experiment(parent.info.experiment_id).tags
        address = view_link(parent) if VIEW + parent.info.run_id in tags else charts_link(parent)
        print(f"newest sweep, {parent.info.run_name}: {ui_address(port)}/{address}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

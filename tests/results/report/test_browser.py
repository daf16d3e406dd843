"""Pages as a real browser shows them: MLflow's on a store of ours, and the report."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from bel.run_layout import CURVE_FIGURE
from results.commands import report
from results.commands.main import main
from results.store.ui_links import charts_link, comparison_link, view_link
from tests.conftest import children, working_in

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'bel-sweeps[dev]'")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here: apt-get install chromium chromium-driver"
    ),
]
# What MLflow 3.17's own pages write at level SEVERE, on any store.
NOT_OURS = (
    "/ajax-api/2.0/mlflow/users/current - ",  # who is logged in: a server without accounts answers 404
    "ResizeObserver loop completed with undelivered notifications",  # a layout that takes two frames, harmless
)
SECONDS = 60  # that a page may take to be drawn


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1600,1200",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def served(swept, tmp_path_factory):
    """An MLflow server on a published and registered copy of the finished sweep: its address, parent, trials, pictures."""
    folder = tmp_path_factory.mktemp("served") / "store"
    shutil.copytree(swept[0], folder)
    with working_in(folder):
        parent, trials = children("fixture")
        assert main(["leaderboard", "fixture", "--publish"]) == 0
        assert main(["best", "fixture", "--register", "heads"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield SimpleNamespace(address=address, parent=parent, trials=trials)
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(address):
    """Wait until a server answers."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("mlflow server does not answer")


class Page:
    """A page in the browser: opened, waited for, photographed, its console read."""

    def __init__(self, browser, address, folder):
        self.browser, self.folder = browser, folder
        browser.get("about:blank")  # an address that differs after # only is no new page
        browser.get_log("browser")
        browser.get(address)

    def until(self, drawn, name):
        """Wait until a predicate of the browser holds, and take a picture named `name` either way."""
        try:
            return WebDriverWait(self.browser, SECONDS, ignored_exceptions=(Exception,)).until(drawn)
        finally:
            self.browser.save_screenshot(str(self.folder / f"{name}.png"))

    @property
    def text(self):
        """What is read on it."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def drawn(self, selector, least=50):
        """How many elements of a selector have a size."""
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return sum(one.size["width"] >= least and one.size["height"] >= least for one in found)

    def errors(self):
        """What the console says at level SEVERE, without what is not ours."""
        said = [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in said if not any(known in message for known in NOT_OURS)]


@pytest.fixture
def opened(browser, served, tmp_path):
    """Opens a page of the server's by a relative address."""
    return lambda relative: Page(browser, f"{served.address}/{relative}", tmp_path)


def best_first(served):
    return [run.info.run_name for run in sorted(served.trials, key=lambda run: run.data.metrics["val/best_mae_groups"])]


def test_the_published_link_draws_the_trials_in_charts(opened, served):
    page = opened(view_link(served.parent))
    page.until(
        lambda _: page.drawn("svg.main-svg") >= 3 and page.drawn(".parcoords canvas, .parcoords-line-layers canvas"),
        "charts",
    )
    assert "Sweep" in page.text.splitlines() and "11 matching runs" in page.text
    assert best_first(served)[0][:12] in page.text and not page.errors()


def test_the_table_lists_the_trials_by_name_the_best_first(opened, served):
    page = opened(view_link(served.parent, charts=False))
    page.until(lambda _: "11 matching runs" in page.text and "val/best_mae_groups" in page.text, "table")
    shown = [line for line in page.text.splitlines() if " lr=" in line]
    names = best_first(served)
    assert [full.startswith(cut.rstrip(".…")) for cut, full in zip(shown, names, strict=False)].count(True) >= 10
    assert {"head", "code", "loss"} <= set(page.text.split()) and not page.errors()


def test_a_sweep_that_was_not_published_is_drawn_too(opened, served):
    page = opened(charts_link(served.parent))
    page.until(lambda _: page.drawn("svg.main-svg") >= 3, "listed")
    assert "11 matching runs" in page.text and not page.errors()


def test_runs_are_compared_in_parallel_coordinates(opened, served):
    page = opened(comparison_link(served.trials))
    page.until(lambda _: "Comparing 11 Runs" in page.text and page.drawn("canvas, svg.main-svg") >= 1, "compared")
    assert not page.errors()


def test_a_run_shows_its_learning_curve(opened, served):
    run = served.trials[0].info
    page = opened(f"#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/{CURVE_FIGURE}")
    wide = "return [...document.images].some(i => i.complete && i.naturalWidth > 300 && i.clientWidth > 100)"
    page.until(lambda browser: browser.execute_script(wide), "curve")
    assert run.run_name in page.text and not page.errors()


def test_the_parent_shows_the_leaderboard_and_its_links_lead_to_the_charts(opened, served):
    run = served.parent.info
    page = opened(f"#/experiments/{run.experiment_id}/runs/{run.run_id}")
    page.until(lambda _: "three heads on rendered heads" in page.text and "best/val_mae_groups" in page.text, "parent")
    for button in page.browser.find_elements(By.XPATH, "//*[text()='Show more']"):
        button.click()
    page.until(lambda _: page.drawn("table", 200) >= 1, "description")
    assert "<!--" not in page.text and "bel-results leaderboard" not in page.text
    link = page.browser.find_element(By.LINK_TEXT, "charts")
    assert link.get_attribute("href").endswith(view_link(served.parent))
    page.browser.get(link.get_attribute("href"))
    page.until(lambda _: page.drawn("svg.main-svg") >= 3, "followed")
    assert not page.errors()


def test_the_parent_draws_the_best_so_far(opened, served):
    run = served.parent.info
    page = opened(f"#/experiments/{run.experiment_id}/runs/{run.run_id}/model-metrics")
    page.until(lambda _: page.drawn("svg.main-svg") >= 2, "progress")
    assert "best" in page.text and "progress" in page.text and not page.errors()


def test_the_champion_is_seen_in_the_registry(opened, served):
    page = opened("#/models/heads/versions/1")
    page.until(lambda _: "champion" in page.text and "code_version" in page.text, "registry")
    page.until(lambda _: "Inputs (1)" in page.text and "Outputs (3)" in page.text, "schema")
    assert best_first(served)[0] in page.text and "Source Model" in page.text and not page.errors()


def test_the_tab_of_models_leads_to_the_run_and_to_the_version(opened, served):
    page = opened(f"#/experiments/{served.parent.info.experiment_id}/models?workflowType=machine_learning")
    page.until(lambda _: best_first(served)[0] in page.text and "v1" in page.text, "models")
    assert "Ready" in page.text and not page.errors()


def test_a_user_who_clicks_on_the_experiment_is_two_clicks_from_the_trials(opened, served):
    """MLflow opens an experiment in its pages for language models; the first line of the description leads to ours."""
    page = opened("#/experiments")
    page.until(lambda browser: browser.find_element(By.LINK_TEXT, "fixture"), "experiments").click()
    link = page.until(lambda browser: browser.find_element(By.LINK_TEXT, "charts"), "experiment")
    assert link.is_displayed() and link.get_attribute("href").endswith(view_link(served.parent))


def test_the_menu_of_views_has_the_sweep(opened, served):
    page = opened(f"#/experiments/{served.parent.info.experiment_id}/runs?workflowType=machine_learning")
    page.until(lambda browser: browser.find_element(By.XPATH, "//button[contains(., 'Views')]"), "menu").click()
    item = page.until(
        lambda browser: browser.find_element(
            By.XPATH, "//*[text()='fixture (random)'][@role or ../@role or ../../@role]"
        ),
        "views",
    )
    item.click()
    page.until(lambda _: "11 matching runs" in page.text and "val/best_mae_groups" in page.text, "view")
    assert not page.errors()


def test_the_report_is_drawn(browser, swept_store, tmp_path):
    from results.store.runs import trials

    parent, _ = children("fixture")
    path = Path(tmp_path / "report.html")
    report.write(parent, trials([parent]), path)
    page = Page(browser, path.as_uri(), tmp_path)
    page.until(lambda _: page.drawn("svg.main-svg, canvas, img") >= 3, "report")
    assert not page.errors()

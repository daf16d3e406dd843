"""The picture of README.md: the charts of a sweep in MLflow's UI, the page that `make ui` names, in a headless Chromium.

    python tests/benchmarks/picture.py demo results/pictures/demo.png

The store is that of the working folder or of MLFLOW_TRACKING_URI. MLflow's assistant, which a new browser shows, is closed.
"""

import argparse
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from results.store.runs import find_sweeps
from results.store.ui_links import view_link

SIZE = (1360, 960)  # of the window
ASSISTANT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
CHARTS = "svg.main-svg"
SECONDS = 90


def served(port: int) -> subprocess.Popen[bytes]:
    """Start an MLflow server on the store, and wait until it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    store = ["--backend-store-uri", mlflow.get_tracking_uri()]
    server = subprocess.Popen([*command, *store], env=environment, start_new_session=True)
    for _ in range(SECONDS):
        time.sleep(1)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return server
        except OSError:
            pass
    raise SystemExit("mlflow server does not answer")


def photographed(address: str, page: str) -> bytes:
    """Return the page as PNG, once its charts are drawn."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options)
    try:
        browser.get(address)
        browser.execute_script(ASSISTANT)
        browser.get("about:blank")
        browser.get(f"{address}/{page}")
        WebDriverWait(browser, SECONDS).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, CHARTS)) >= 3)
        time.sleep(5)  # of drawing
        return browser.get_screenshot_as_png()
    finally:
        browser.quit()


def main(argv: list[str] | None = None) -> int:
    """Take the picture of a sweep."""
    parser = argparse.ArgumentParser(prog="picture.py", description=__doc__.partition("\n")[0])
    parser.add_argument("sweep")
    parser.add_argument("out", type=Path)
    a = parser.parse_args(argv)
    page = view_link(find_sweeps([a.sweep])[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = served(port)
    try:
        picture = Image.open(io.BytesIO(photographed(f"http://127.0.0.1:{port}", page)))
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(256).save(a.out, optimize=True)
    print(f"{a.out}: {a.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

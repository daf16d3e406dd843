"""Every shell command of the READMEs runs: bash expands it, and its program runs on small rendered data.

The rules, by program, are below: what is appended keeps a run small, `--plan` stands for a cluster, and a rendered network
for a published file. A command that no rule covers fails the test.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import mlflow.cli
import pytest
import torch

from bel.run_layout import EXTENDS, PARENT
from launch.steering import command_line
from tests.conftest import PROJECT, working_in
from tests.results.retest.test_published import published_state

DOCUMENTS = ("README.md", "bel/README.md", "sweeps/README.md", "launch/README.md", "results/README.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(\$ |make |python |bel-\w+ |ray |sbatch |pip |git )", re.MULTILINE)
SCRIPTS = dict(re.findall(r'^(bel-\w+) = "(.+):main"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE))
PROGRAMS = (*SCRIPTS, "make", "mlflow", "pip", "python", "ray", "sbatch", "tensorboard")
SMALL = {
    "image_size": 32,
    "crop": "frame",
    "weights": "none",
    "device": "cpu",
    "batch_size": 8,
    "epochs": 1,
    "frame_stride": 1,
}
ACTIVATE = "source .venv/bin/activate"
ONE_CONTENDER = {"head": "bel", "code": "u", "loss": "bce", "search.folds": 2}
SHIM = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""


def fences(document: str) -> list[tuple[str, str]]:
    """The language and the text of every fenced block of a document."""
    return FENCE.findall((PROJECT / document).read_text())


def commands(document: str) -> list[str]:
    """The lines of a document's shell blocks, continued lines joined."""
    blocks = [text.replace("\\\n", " ") for language, text in fences(document) if language == "sh"]
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def sets(values: dict) -> list[str]:
    """A `--set` for each value."""
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_typed_stands_in_a_block_of_shell(document):
    assert not [text for language, text in fences(document) if language != "sh" and COMMAND.search(text)]
    assert commands(document)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_named_files_exist(document):
    text = (PROJECT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert not [link for link in links if not (PROJECT / document).parent.joinpath(link).exists()]
    named = re.findall(r"`((?:bel|launch|results|sweeps|tests)/[\w/.-]+\.(?:py|yaml|txt|csv|md))`", text)
    assert not [path for path in named if path != "sweeps/mine.yaml" and not (PROJECT / path).exists()]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_environment_is_activated_before_its_commands(document):
    typed = [line.partition("#")[0].strip() for line in commands(document)]
    before = typed[: typed.index(ACTIVATE)]
    assert before and all(line.startswith("make ") for line in before)


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_bytes()) <= 8192


class Commands:
    """Runs command lines in the working folder, each by the rule of its program."""

    def __init__(self, shims: Path) -> None:
        self.calls = shims / "calls"
        for name in PROGRAMS:
            (shims / name).write_text(SHIM)
            (shims / name).chmod(0o755)
        self.environment = os.environ | {"PATH": f"{shims}:{os.environ['PATH']}", "CALLS": str(self.calls)}

    def expanded(self, line: str) -> list[list[str]]:
        """The words of each command that bash runs for a line."""
        self.calls.write_text("")
        subprocess.run(["bash", "-euc", line], check=True, env=self.environment)
        found = [json.loads(call) for call in self.calls.read_text().splitlines()]
        assert found, f"no rule covers: {line}"
        return found

    def run(self, line: str) -> None:
        """Run a line of a document; the environment that `make` sets up is the one of the tests."""
        if line.startswith("export "):
            return
        if line.partition("#")[0].strip() == ACTIVATE:
            assert "\nBIN := .venv/bin\n" in (PROJECT / "Makefile").read_text()
            return
        for program, *words in self.expanded(placed(line)):
            rule = getattr(self, program.replace("-", "_"), None)
            assert rule or program in SCRIPTS, f"no rule covers: {line}"
            rule(words) if rule else self.call(SCRIPTS[program], words)

    def call(self, module: str, words: list[str]) -> None:
        """Call what a console script calls."""
        assert importlib.import_module(module).main(words) == 0, (module, words)

    def make(self, words: list[str]) -> None:
        """`.ci/run` types it, or a target that needs it; the two commands of the demo run here, too."""
        makefile = (PROJECT / "Makefile").read_text()
        typed = re.findall(r"^make ([\w-]+)", (PROJECT / ".ci/run").read_text(), re.MULTILINE)
        needed = [name for target in typed for name in re.findall(rf"^{target}: (.*)$", makefile, re.MULTILINE)]
        assert words[0] in [*typed, *" ".join(needed).split()]
        if words == ["demo"]:
            recipe = makefile.split("\ndemo:")[1].split("\n\n")[0].splitlines()[1:]
            for line in recipe:
                self.run(line.strip().replace("$(BIN)/", ""))

    def python(self, words: list[str]) -> None:
        """A sweep runs two small trials; `--address`, which needs a cluster, is planned without it."""
        assert (PROJECT / words[0]).is_file(), words
        if words[0] != "launch/sweep.py":
            return self.call(words[0].removesuffix(".py").replace("/", "."), words[1:])
        small = SMALL | {"resources.cpu": 1, "resources.gpu": 0}
        small["backbone"] = "resnet18" if "published" in words[1] else "resnet10"
        small |= ONE_CONTENDER if "study" in words[1] else {"budget.trials": 2}
        if "--address" in words:
            at = words.index("--address")
            words = [*words[:at], "--plan"]
        return self.call("launch.sweep", [*words[1:], *sets(small)])

    def pip(self, words: list[str]) -> None:
        """The tests have what a reader installs."""
        assert words[0] == "install" and all(word in (PROJECT / "pyproject.toml").read_text() for word in words[1:])

    def mlflow(self, words: list[str]) -> None:
        """The server knows the options; `tests/services` starts one with them."""
        known = {option for parameter in mlflow.cli.server.params for option in parameter.opts}
        assert words[0] == "server" and {word for word in words if word.startswith("--")} <= known

    def tensorboard(self, words: list[str]) -> None:
        """A sweep's trials were trained before it was to write events; `bel-train` has written some."""
        assert words[0] == "--logdir"
        assert words[1] == "runs/tensorboard" or [*Path(words[1]).rglob("events.out.*")]

    def ray(self, words: list[str]) -> None:
        """What is submitted to a cluster is run as it is here."""
        assert words[:2] == ["job", "submit"]
        self.python(words[words.index("--") + 2 :])

    def sbatch(self, words: list[str]) -> None:
        """The sweep of a job is planned; `tests/launch/test_slurm.py` runs one."""
        at = words.index("sweeps/slurm.sbatch")
        assert all(word.startswith("--") for word in words[:at])
        self.python(["launch/sweep.py", *words[at + 1 :], "--address"])

    def bel_sweep(self, words: list[str]) -> None:
        """What steers a sweep is read; `tests/launch/steering` has one that runs."""
        if words[0] in command_line.ABOUT:
            assert command_line.options(words).command == words[0]
        else:
            self.call(SCRIPTS["bel-sweep"], words)

    def bel_data(self, words: list[str]) -> None:
        """Images are small and few."""
        few = {"synth": ["--subjects", "8", "--frames", "6", "--size", "48"], "check": []}
        self.call(SCRIPTS["bel-data"], [*words, *few.get(words[0], ["--image-size", "32"])])

    def bel_train(self, words: list[str]) -> None:
        """A small network and one epoch."""
        small = SMALL | {"backbone": "resnet10"}
        options = [part for name, value in small.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        self.call(SCRIPTS["bel-train"], [*words, *options])

    def bel_results(self, words: list[str]) -> None:
        """Intervals of a small run are of a level for which its few validation groups are enough."""
        few = ["--level", "0.5"] if words[0] == "calibrate" else []
        self.call(SCRIPTS["bel-results"], [*words, *few])

    def bel_eval(self, words: list[str]) -> None:
        """A published file is a random network in its layout, measured on small images."""
        published = any(word.endswith(".pth") for word in words)
        small = {name: SMALL[name] for name in ("image_size", "crop", "device")}
        self.call(SCRIPTS["bel-eval"], words + (sets(small) if published else []))


def sweep_runs(name: str) -> list[str]:
    """Run ids of a sweep's newest parent run, extensions apart, and of its trials."""
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id], order_by=["start_time DESC"])
    parent = next(run.info.run_id for run in found if not {PARENT, EXTENDS} & run.data.tags.keys())
    return [parent, *(run.info.run_id for run in found if run.data.tags.get(PARENT) == parent)]


def placed(line: str) -> str:
    """A line with the id of a run where a document says RUN, RUN2 or SWEEP."""
    if "RUN" in line:
        for name, run in zip(("RUN", "RUN2"), sweep_runs("demo")[1:], strict=False):
            line = re.sub(rf"\b{name}\b", run, line)
    return re.sub(r"\bSWEEP\b", lambda _: sweep_runs("study_pose")[0], line)


def files(folder: Path, rendered: Path) -> None:
    """What the commands find in a user's folder: sweeps, data, photographs, and published networks."""
    shutil.copytree(PROJECT / "sweeps", folder / "sweeps")
    shutil.copytree(PROJECT / "results/study", folder / "results/study")
    shutil.copytree(rendered, folder / "datasets")
    (folder / "photos").mkdir()
    for image in sorted(rendered.glob("BIWI/**/*_rgb.png"))[:3]:
        shutil.copy(image, folder / "photos")
    (mine,) = (text for language, text in fences("README.md") if language == "yaml")
    (folder / "sweeps/mine.yaml").write_text(mine)
    torch.save(published_state(), folder / "BCE_BIWI_BELU.pth")
    aflw2000 = dict.fromkeys(("yaw", "pitch", "roll"), 200)
    torch.save(published_state("direct", widths=aflw2000), folder / "AFLW_direct_full.pth")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_has_a_rule(document):
    first = {line.split()[0] for line in commands(document)}
    assert first <= {*PROGRAMS, "export", *ACTIVATE.split()[:1]}


@pytest.mark.slow
def test_every_command_of_the_readmes_runs(ray_here, rendered, tmp_path):
    """In the order of the documents: later commands use what earlier ones made."""
    (tmp_path / "shims").mkdir()
    (tmp_path / "work").mkdir()
    files(tmp_path / "work", rendered)
    runner = Commands(tmp_path / "shims")
    with working_in(tmp_path / "work"):
        for document in DOCUMENTS:
            for line in commands(document):
                print(f"{document}: {line}", flush=True)
                runner.run(line)

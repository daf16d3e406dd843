"""What is told of the source: of a repository that tracks it, and nothing of one that it merely lies in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.tracking import provenance
from launch.tracking.provenance import MOST_BYTES, ROOMS, changes, commit, context, diff_to_keep
from tests.conftest import PROJECT

SECRET = "API_KEY=do-not-tell"


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    command = ["git", *names, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def package(folder: Path) -> Path:
    """A small package of our rooms' names."""
    for room in ROOMS:
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").write_text("# as committed\n")
    return folder


def repository(folder: Path) -> Path:
    """A repository with all that lies in a folder, beside a secret that is committed empty and then filled in."""
    folder.mkdir(exist_ok=True)
    (folder / "settings.py").write_text("API_KEY=None\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    (folder / "settings.py").write_text(SECRET)
    return folder


@pytest.fixture
def at(monkeypatch):
    """Let the source be in a folder."""

    def at(root: Path) -> Path:
        monkeypatch.setattr(provenance, "ROOT", root)
        commit.cache_clear()
        changes.cache_clear()
        return root

    yield at
    commit.cache_clear()
    changes.cache_clear()


def test_the_repository_of_the_source_is_told_with_its_changed_modules_alone(tmp_path, at):
    root = at(repository(package(tmp_path / "clone")))
    assert commit() == git(root, "rev-parse", "HEAD") and changes() == b""
    (root / "bel" / "__init__.py").write_text("# changed\n")
    (root / "launch" / ".env").write_text(SECRET)  # nobody tracks it
    (root / "results" / "rows.csv").write_text(SECRET)
    git(root, "add", "results/rows.csv")  # tracked, and no module
    at(root)
    told = changes().decode()
    assert "+# changed" in told and "-# as committed" in told and "API_KEY" not in told
    assert provenance.provenance()["git_dirty"] != "no"
    assert context()["mlflow.source.git.commit"] == commit()


@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "untracked"])
@pytest.mark.parametrize("place", [".venv/lib/python3.11/site-packages", "vendor"])
def test_a_repository_that_the_source_lies_in_is_not_told(tmp_path, at, place, ignored, monkeypatch):
    outer = repository(tmp_path / "theirs")
    if ignored:
        (outer / ".gitignore").write_text(place.split("/")[0])
    at(package(outer / place))
    monkeypatch.setattr(sys, "argv", [str(outer / "run.py")])  # of which MLflow itself would look for a repository
    (outer / "run.py").write_text("")
    assert commit() is None and changes() == b"" and provenance.provenance()["git_commit"] == "none"
    told = str(provenance.provenance())
    assert git(outer, "rev-parse", "HEAD") not in told and "source.git" not in told and str(outer) not in told


def test_another_repository_in_the_environment_is_not_asked(tmp_path, at, monkeypatch):
    outer, own = (repository(package(tmp_path / name)) for name in ("theirs", "clone"))
    git(outer, "commit", "-q", "-a", "-m", "another")
    (outer / "bel" / "__init__.py").write_text(SECRET)
    installed = package(tmp_path / "installed")
    expected = git(own, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))  # as within a hook; git then takes any folder for its work tree
    at(installed)
    assert commit() is None and changes() == b""
    monkeypatch.setenv("GIT_WORK_TREE", str(outer))
    at(own)
    assert commit() == expected and changes() == b""


def test_a_worktree_and_a_submodule_are_told_as_what_they_are(tmp_path, at):
    clone = repository(package(tmp_path / "clone"))
    git(clone, "worktree", "add", "-q", str(tmp_path / "tree"))
    at(tmp_path / "tree")
    assert commit() == git(clone, "rev-parse", "HEAD")
    outer = repository(tmp_path / "theirs")
    git(outer, "submodule", "add", "-q", str(clone), "vendor")
    git(outer, "commit", "-q", "-m", "with a submodule")
    at(outer / "vendor")
    assert commit() == git(clone, "rev-parse", "HEAD") != git(outer, "rev-parse", "HEAD")


def test_without_git_without_a_commit_and_where_git_refuses_there_is_nothing_to_tell(tmp_path, at, monkeypatch):
    root = at(package(tmp_path / "new"))
    git(root, "init", "-q")
    git(root, "add", ".")
    assert commit() is None and changes() == b""
    repository(root)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "nowhere"))
        at(root)
        assert commit() is None and changes() == b""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.repositoryFormatVersion")  # git gives up on one that it does not know
    (root / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 99\n")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "99")
    at(root)
    assert commit() is None and changes() == b""


def test_a_diff_in_any_encoding_and_of_any_length_is_kept_as_it_is(tmp_path, at):
    root = at(repository(package(tmp_path / "clone")))
    for name, value in (("color.ui", "always"), ("diff.noprefix", "true"), ("diff.external", "echo")):
        git(root, "config", name, value)
    (root / "bel" / "__init__.py").write_bytes("# Größe\r\n".encode("latin-1"))
    diff = changes()
    assert "+# Größe\r\n".encode("latin-1") in diff and diff.startswith(b"diff --git a/bel/__init__.py b/bel/")
    (root / "bel" / "__init__.py").write_bytes(b"\0" * 100)
    at(root)
    assert b"Binary files" in changes()
    (root / "bel" / "__init__.py").write_bytes(b"# a line\n" * MOST_BYTES)
    at(root)
    assert (
        len(changes()) > 9 * MOST_BYTES
        and len(diff_to_keep()) < MOST_BYTES + 100
        and b"more bytes" in diff_to_keep()[-60:]
    )


def test_an_installed_copy_within_a_repository_of_somebody_else_tells_nothing_of_it(tmp_path):
    outer = repository(tmp_path / "theirs")
    place = outer / ".venv" / "site-packages"
    for room in ROOMS:
        shutil.copytree(PROJECT / room, place / room, ignore=shutil.ignore_patterns("h100", "pictures", "__pycache__"))
    code = (
        "from launch.tracking.provenance import *; import launch; print(launch.__file__, provenance(), diff_to_keep())"
    )
    environment = os.environ | {"PYTHONPATH": str(place)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=outer, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{place}/launch/__init__.py") and "'git_commit': 'none'" in done.stdout
    assert git(outer, "rev-parse", "HEAD") not in done.stdout and SECRET not in done.stdout

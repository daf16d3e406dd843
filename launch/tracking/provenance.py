"""Commit, changes and package versions of a run's code, as tags of every run of a sweep."""

import hashlib
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mlflow.tracking.context.git_context import GitRunContext
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME

from bel.run_layout import CODE_VERSION, GIT_COMMIT, GIT_DIRTY, PACKAGES
from bel.training.source import code_version

RECORDED = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bel", "launch", "results")
MOST_BYTES = 10**6  # of a diff
# Override the user's settings of git.
PLAIN_DIFF = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")


def git(*arguments: str) -> bytes | None:
    """Run git in the folder of this source and return its output; None where it fails or is not installed.

    Variables that name another repository, as within a hook, are removed; those that name a configuration stay.
    """
    environment = {n: v for n, v in os.environ.items() if not n.startswith("GIT_") or n.startswith("GIT_CONFIG_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    command = ["git", "--no-pager", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@cache
def commit() -> str | None:
    """Return the commit of this source; None where no repository tracks it, though it may lie within another one."""
    if git("ls-files", "--error-unmatch", "--", *(f"{room}/__init__.py" for room in ROOMS)) is None:
        return None
    found = git("rev-parse", "--verify", "HEAD")
    return found.decode().strip() if found else None


@cache
def changes() -> bytes:
    """Return the diff of the source from its commit; empty where there is none.

    It covers tracked Python files of the package alone, because other files of a repository may be private.
    """
    modules = (f":(glob){room}/**/*.py" for room in ROOMS)
    return (git("diff", *PLAIN_DIFF, "HEAD", "--", *modules) or b"") if commit() else b""


def diff_to_keep() -> bytes:
    """Return the diff that is kept with each run, cut where it is very long."""
    diff = changes()
    return (
        diff
        if len(diff) <= MOST_BYTES
        else diff[:MOST_BYTES] + f"\n(cut: {len(diff) - MOST_BYTES} more bytes)\n".encode()
    )


def context() -> dict[str, str]:
    """Return MLflow's own tags of user and command, with this source's commit in place of the working folder's."""
    source = {MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name} | ({MLFLOW_GIT_COMMIT: found} if (found := commit()) else {})
    return resolve_tags(source, ignore=[GitRunContext])


def provenance() -> dict[str, str]:
    """Return the tags of a run: MLflow's own, commit, digest of the changes, code version, versions of packages."""
    return context() | {
        GIT_COMMIT: commit() or "none",
        GIT_DIRTY: hashlib.sha256(changes()).hexdigest()[:12] if changes() else "no",
        CODE_VERSION: code_version(),
        PACKAGES: " ".join(f"{name} {version(name)}" for name in RECORDED),
    }

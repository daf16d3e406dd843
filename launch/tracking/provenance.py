"""Where a run's code and packages come from: tags that every run of a sweep carries, and how the source was changed."""

from __future__ import annotations

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

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bel", "launch", "results")
MOST = 10**6  # bytes of a diff that are kept
# Whatever git's own settings say.
PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")


def git(*arguments: str) -> bytes | None:
    """What git says of the folder that holds this source; None where it says no, or is not there.

    The environment may name another repository, as it does within a hook, but not which configuration is read.
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
    """The commit of this source; None where no repository tracks it: it may lie within that of somebody else."""
    if git("ls-files", "--error-unmatch", "--", *(f"{room}/__init__.py" for room in ROOMS)) is None:
        return None
    found = git("rev-parse", "--verify", "HEAD")
    return found.decode().strip() if found else None


@cache
def changes() -> bytes:
    """How the source differs from its commit, as a diff; empty where it does not, or there is no commit.

    It is of tracked Python files of the package alone: what else lies in the repository is nobody's business.
    """
    modules = (f":(glob){room}/**/*.py" for room in ROOMS)
    return (git("diff", *PLAIN, "HEAD", "--", *modules) or b"") if commit() else b""


def kept_changes() -> bytes:
    """The changes as they are kept with a run: without the end of what is very long."""
    diff = changes()
    return diff if len(diff) <= MOST else diff[:MOST] + f"\n(cut: {len(diff) - MOST} more bytes)\n".encode()


def context() -> dict[str, str]:
    """MLflow's tags of who started a run and with what, without the commit of whichever repository the command lies in."""
    source = {MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name} | ({MLFLOW_GIT_COMMIT: found} if (found := commit()) else {})
    return resolve_tags(source, ignore=[GitRunContext])


def provenance() -> dict[str, str]:
    """Tags: MLflow's own, the commit, a digest of what differs from it, and the packages' versions."""
    return context() | {
        "git_commit": commit() or "none",
        "git_dirty": hashlib.sha256(changes()).hexdigest()[:12] if changes() else "no",
        "packages": " ".join(f"{name} {version(name)}" for name in PACKAGES),
    }

"""Where a run's code and packages come from: tags that every run of a sweep carries."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")


def git(*arguments: str) -> str | None:
    """What git says in the folder of this source; None outside a repository, or without git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def changes() -> str:
    """How the source differs from its commit, as a diff; empty where it does not, or there is no commit."""
    return git("diff", "HEAD", "--", ":/") or ""


def provenance() -> dict[str, str]:
    """Tags: the commit, a digest of what differs from it, and the packages' versions."""
    commit, diff = git("rev-parse", "HEAD"), changes()
    return {
        "git_commit": (commit or "none").strip(),
        "git_dirty": hashlib.sha256(diff.encode()).hexdigest()[:12] if diff else "no",
        "packages": " ".join(f"{name} {version(name)}" for name in PACKAGES),
    }

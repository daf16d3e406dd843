"""The sweep of a parent run, made again from the file that MLflow has of it, for checks without its YAML."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from bel.errors import UserError, sentence
from bel.plugins.registry import load
from bel.run_layout import SWEEP_FILE
from launch.spec.dimensions import Conditions, Dimension, Finite, Interval
from launch.spec.search import Search
from launch.spec.sweep_file import Budget, Resources, Sweep


def stored_sweep(parent: Run) -> Sweep:
    """Return the sweep of a parent run, its plug-ins registered. Raises `UserError` where MLflow has no file of it."""
    try:
        content = mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/{SWEEP_FILE}")
        load(content["base"].get("plugins"), Path.cwd())
        return sweep_of(content)
    except UserError:
        raise
    except (MlflowException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"the file {SWEEP_FILE} of sweep {parent.info.run_id} cannot be read ({sentence(error)}): a sweep of another "
            "version cannot be steered by this one"
        ) from error


def sweep_of(content: Mapping[str, Any]) -> Sweep:
    """Return the sweep whose `asdict` was written as JSON; of an extension what it has in common with one."""
    search = content["search"] | {"objective": tuple(content["search"]["objective"])}
    made = {field.name: content[field.name] for field in fields(Sweep) if field.name in content} | {
        "space": {name: dimension_of(values) for name, values in content["space"].items()},
        "exclude": [conditions_of(rule) for rule in content["exclude"]],
        "search": Search(**search),
        "resources": Resources(**content["resources"]),
        "budget": Budget(**content["budget"]),
        "log_to": tuple(content["log_to"]),
        "warm_start": tuple(content.get("warm_start", ())),
    }
    return Sweep(**made)


def dimension_of(values: Mapping[str, Any]) -> Dimension:
    """Return a list or an interval."""
    when = conditions_of(values["when"])
    if "values" in values:
        return Finite(tuple(tuple(one) if isinstance(one, list) else one for one in values["values"]), when)
    return Interval(**(dict(values) | {"when": when}))


def conditions_of(rule: Mapping[str, Any]) -> Conditions:
    """Return the conditions of a rule, whose lists were tuples."""
    return {name: tuple(allowed) for name, allowed in rule.items()}

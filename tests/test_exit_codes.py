"""The table of exit codes in results/README.md has, for each command, the codes that its code can return, and no other."""

import ast
import inspect
import re
import textwrap

import pytest

from bel.data import command as data
from bel.output import command
from launch import codes, running, sweep, train
from launch.driver.conclusion import EXIT_CODES, Conclusion
from launch.driver.driver import Driver
from launch.extend import command as extend
from launch.steering import command_line as steer
from results.commands import best, calibrate, compare, folds, leaderboard, report, study
from results.commands.main import COMMANDS
from results.predict import command as predict
from results.retest import evaluate, export
from tests.documented import README
from tests.test_readmes import SCRIPTS

RETURNING = {  # by command: the functions that decide its exit code
    "bel-data": [data.main, data.synth, data.prepare_parts, data.show_labels, data.check_folder],
    "bel-train": [train.main],
    "bel-codes": [codes.main, codes.describe],
    "bel-sweep": [sweep.main, sweep.run, extend.main, steer.main, running.carry_out, Driver.run, Conclusion.exit_code],
    "bel-eval": [evaluate.main],
    "bel-results": [
        *(best.best, best.register, calibrate.calibrate, compare.compare, folds.folds),
        *(leaderboard.leaderboard, report.report, study.study),
    ],
    "bel-export": [export.main, export.write_checked],
    "bel-predict": [predict.main, predict.predict],
}
ELSEWHERE = {  # calls whose codes are those of another function of the list
    *("main", "run", "register", "write_checked", "conclude", "describe", "predict", "carry_out"),
}


def table():
    """The codes of each command as documented; those of all commands under `all`, but a traceback's."""
    section = README.read_text().split("\n### Exit codes\n")[1].split("\n#", 1)[0]
    found = {}
    for code, of, what in re.findall(r"^\| (\d+) \| (.+?) \| (.+) \|$", section, re.MULTILINE):
        for name in re.findall(r"bel-\w+", of) or ["all"] * ("traceback" not in what):
            found.setdefault(name, set()).add(int(code))
    return found


def tree(function):
    """The syntax of a function as it is in its file."""
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]


def codes_in(value, values):
    """The codes that an expression can be; `values` are the expressions of local names."""
    match value:
        case ast.Constant(value=int(code)):
            return {int(code)}
        case ast.IfExp():
            return codes_in(value.body, values) | codes_in(value.orelse, values)
        case ast.BoolOp():
            return set().union(*(codes_in(part, values) for part in value.values))
        case ast.Call(func=ast.Name(id="int")):
            return {0, 1}
        case ast.Call(func=ast.Attribute(value=ast.Name(id="EXIT_CODES"))):
            return set(EXIT_CODES.values())
        case ast.Call(func=ast.Subscript(value=ast.Name(id="COMMANDS"))):
            return set()
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in ELSEWHERE:
            return set()
        case ast.Name(id=name) if name in values:
            return set().union(*(codes_in(part, values) for part in values[name]))
    raise AssertionError(f"what codes are {ast.unparse(value)}?")


def returned(function):
    """The codes that a function returns."""
    values, found = {}, set()
    for node in ast.walk(tree(function)):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                values.setdefault(name, []).append(node.value)
    for node in ast.walk(tree(function)):
        if isinstance(node, ast.Return):
            found |= codes_in(node.value, values)
    return found


def test_every_command_is_in_the_list():
    assert set(RETURNING) == set(SCRIPTS)
    assert {function.__name__ for function in RETURNING["bel-results"]} - {"register"} == set(COMMANDS)


@pytest.mark.parametrize("name", RETURNING)
def test_a_command_returns_the_codes_of_the_table(name):
    documented = table()
    codes = set().union(*map(returned, RETURNING[name]))
    assert codes - documented["all"] == documented.get(name, set())


def test_what_ends_any_command_has_the_codes_of_the_table():
    wrapped = next(node for node in ast.walk(tree(command)) if getattr(node, "name", "") == "wrapped")
    codes = {
        node.value.value
        for node in ast.walk(wrapped)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant)
    }
    assert codes | {0} == table()["all"]

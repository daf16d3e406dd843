"""One JSON document on stdout, whatever else is printed, by child processes, too."""

import json
import math
import subprocess
import sys

import pytest

from bel.output import answering, as_json

PROGRAM = """
import os, subprocess, sys
from bel.output import answering
with answering(sys.argv[1]) as answer:
    print("a note")
    os.write(1, b"below Python\\n")
    subprocess.run("echo of a child", shell=True)
    answer.say("a table")
    answer.values |= {"mae": 1 / 3}
print("after")
"""


def run(form):
    return subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True)


def test_all_but_the_document_is_on_stderr():
    done = run("json")
    document, _, after = done.stdout.rpartition("}\n")
    assert json.loads(document + "}") == {"mae": 1 / 3} and after == "after\n"
    assert sorted(done.stderr.splitlines()) == ["a note", "below Python", "of a child"]


def test_a_text_is_printed_as_it_comes():
    done = run("text")
    assert sorted(done.stdout.splitlines()) == ["a note", "a table", "after", "below Python", "of a child"]
    assert done.stderr == ""


def test_after_an_error_there_is_no_document(capsys):
    with pytest.raises(ValueError, match="no"), answering("json") as answer:
        answer.values["a"] = 1
        raise ValueError("no")
    with answering("json") as answer:
        answer.values = None
    assert capsys.readouterr().out == ""


def test_numbers_keep_their_digits_and_what_is_none_is_null():
    values = {"a": 0.1 + 0.2, "b": [math.nan, math.inf, -math.inf], "c": (1, True), "d": "ü\u2028"}
    assert json.loads(as_json(values)) == {"a": 0.30000000000000004, "b": [None] * 3, "c": [1, True], "d": "ü\u2028"}

"""What a user is told, and what not."""

import errno

import pytest

from bel.errors import UserError, refuse_unknown, sentence
from bel.output import command


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql+psycopg2://me:se@cret@host/db", "postgresql+psycopg2://host/db"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://host/a@b", "http://host/a@b"),
        ("postgresql://host/db?user=me&password=se@cret&x=1", "postgresql://host/db?user=me&x=1"),
        (
            "https://bucket/best.pt?X-Amz-Date=1&X-Amz-Signature=5e&X-Amz-Credential=me",
            "https://bucket/best.pt?X-Amz-Date=1",
        ),
    ],
)
def test_no_message_has_the_password_of_an_address(capsys, address, said):
    def fail(argv):
        raise UserError(f"cannot reach {address}: try {address}")

    assert command(fail)([]) == 2
    assert capsys.readouterr().err == f"error: cannot reach {said}: try {said}\n"
    assert sentence(OSError(f"no {address}")) == f"OSError: no {said}"


def test_a_very_long_value_leaves_the_rule_and_what_to_do(capsys):
    @command
    def main(argv):
        raise UserError(f"name must be short, got {'x' * 100_000}: shorten it")

    assert main([]) == 2
    said = capsys.readouterr().err
    assert len(said) < 2100 and said.startswith("error: name must be short") and said.endswith("x: shorten it\n")


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EACCES, "work in a folder that may be written"), (errno.ENOSPC, "make room there")]
)
def test_what_the_system_refuses_is_one_line_that_says_what_to_do(capsys, number, advice):
    def fail(argv):
        raise OSError(number, "no", "runs/one")

    assert command(fail)([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: [Errno {number}] no: 'runs/one': ") and advice in said and said.count("\n") == 1


def test_an_unknown_name_is_answered_with_the_one_that_is_spelled_most_like_it():
    with pytest.raises(UserError, match=r"unknown field 'bacth_size': choose from .*; did you mean 'batch_size'\?$"):
        refuse_unknown("field", {"bacth_size": 3}, ["lr", "batch_size"])
    with pytest.raises(UserError, match=r"unknown field 1: choose from \['lr', 'batch_size'\]$"):
        refuse_unknown("field", {1: 3}, ["lr", "batch_size"])

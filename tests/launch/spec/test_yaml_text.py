"""YAML: values that are read as they are written, and files that are refused at once, in a line."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from bel.errors import UserError
from launch.spec.sweep_file import read_sweep
from launch.spec.yaml_text import dump, load, parse
from launch.train import main as train

TEN = "abcdefghij"


def bomb(first, link):
    """Ten anchors, each of which stands for ten of the one before."""
    links = [f"{b}: &{b} {link.format(', '.join([f'*{a}'] * 10))}" for a, b in pairwise(TEN)]
    return "\n".join([f"a: &a {first}", *links])


BAD = {
    "aliases": (bomb("[x]", "[{}]") + "\nname: *j", "too large: it may have 250000 characters"),
    "merged mappings": (bomb("{x: 1}", "{{<<: [{}]}}") + "\nname: *j", "too large"),
    "long text, often": (f"a: &a {'x' * 1000}\nname: [{', '.join(['*a'] * 1000)}]", "too large"),
    "a long file": ("# " + "x" * 300_000, "too large"),
    "brackets": ("name: " + "[" * 20_000, "nested too deeply: at most 50"),
    "indents": ("\n".join(" " * i + "a:" for i in range(400)), "nested too deeply"),
    "a chain of aliases": (
        "a0: &a0 [1]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)),
        "nested too",
    ),
    "an alias of itself": ("name: &a [*a]", "nested too deeply"),
    "a mapping in itself": ("name: &a {b: *a}", "nested too deeply"),
    "a key twice": ("name: a\nbase: {lr: 1, lr: 2}", "the key 'lr' is there twice in .* line 2"),
    "a name twice": ("name: a\nname: b", "the key 'name' is there twice"),
    "an object": ("name: !!python/object/apply:os.system [true]", "could not determine a constructor"),
    "bytes": ("name: !!binary aaaa", "could not determine a constructor"),
    "a tag that is not so": ("name: !!bool abc", "not readable YAML: 'abc'"),
    "a list as key": ("? [1, 2]\n: 3", "unhashable key"),
    "two documents": ("name: a\n---\nname: b", "expected a single document"),
    "many digits": ("name: " + "1" * 5000, "not readable YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_grow_or_is_no_plain_value_is_refused_at_once(tmp_path, case):
    text, says = BAD[case]
    path = tmp_path / "s.yaml"
    path.write_text(text)
    start = time.perf_counter()
    with pytest.raises(UserError, match=says) as caught:
        read_sweep(path)
    assert "\n" not in str(caught.value) and time.perf_counter() - start < 5


def test_a_config_of_bel_train_is_read_by_the_same_rules(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(BAD["aliases"][0])
    (tmp_path / "d.yaml").write_text("lr: 1\nlr: 2")
    for name, says in (("c", "too large"), ("d", "'lr' is there twice"), ("e", "no config file")):
        assert train([str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_never_ends_is_not_read_to_its_end():
    with pytest.raises(UserError, match="/dev/zero is not readable YAML"):
        load(Path("/dev/zero"), "no file")


def test_values_are_what_is_written():
    text = "[on, no, 0x10, 1_0, 1:30, 2026-01-01, '1', 010, 1e-4, -3, .5, 2., .inf, true, null, ~, =, a b]"
    assert parse("x", text) == [
        *("on", "no", "0x10", "1_0", "1:30", "2026-01-01", "1"),
        *(10, 1e-4, -3, 0.5, 2.0, float("inf"), True, None, None, "=", "a b"),
    ]
    assert parse("x", "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}") == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}
    assert parse("x", "") is None and parse("x", "# nothing") is None
    assert type(parse("x", "10")) is int and type(parse("x", "1.0")) is float


def test_what_is_written_is_read_back_by_either_version_of_yaml():
    texts = [
        "on",
        "1e3",
        "08",
        "010",
        "0x10",
        "1_0",
        "1:30",
        "2026-01-01",
        "null",
        "~",
        "=",
        "<<",
        "",
        "a: b",
        "x #2",
        "@a",
    ]
    values = {"texts": texts, "numbers": [1, 1e-5, 0.1, 1e22, True, None], "more": {text: text for text in texts}}
    assert parse("x", dump(values)) == values == yaml.safe_load(dump(values))
    assert [type(number) for number in parse("x", dump(values))["numbers"][:4]] == [int, float, float, float]

"""Plug-ins: what is found and run, what is refused in a sentence, what identifies a config that uses one."""

import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from bel.codes.library import code_matrix
from bel.config import TrainConfig
from bel.config_fields import FIELDS, HINTS, OWN
from bel.deploy.standalone import make_head
from bel.errors import UserError
from bel.heads import HEADS, OPTIONS
from bel.plugins import module, registry
from bel.plugins.registry import REGISTRIES
from bel.run_layout import LAST
from bel.tensor_file import DIGEST
from bel.testing import check_plugin
from bel.training import checkpoint
from launch import train
from launch.identity import file_digests, trial_key
from launch.spec.sweep_file import make_sweep, read_sweep
from tests.conftest import PROJECT

HEAD = """
import torch
from torch import nn
from bel.config_fields import option
from bel.heads import SingleAxisHead

class Mine(SingleAxisHead):
    losses = ("l1",)
    options = {"slope": 2.0}
    new_fields = {"slope": option(None, "slope; default 2", low=0.1, high=9)}
    def __init__(self, features, axis, config):
        super().__init__(features, axis, config)
        self.slope, self.linear = self.options_of(config)["slope"], nn.Linear(features, 1)
    def forward(self, features):
        return self.linear(features)
    def loss_inputs(self, loss, output, target):
        return self.decode_levels(output)["mine"], self.axis.to_level(target).to(output.dtype)
    def decode_levels(self, output):
        return {"mine": (self.axis.levels - 1) * torch.sigmoid(self.slope * output[:, 0])}
    def perfect_output(self, target):
        return (self.axis.to_level(target) / (self.axis.levels - 1)).logit(1e-7)[:, None].float() / self.slope

HEADS = {"mine": Mine}
"""
CODE = """
import numpy as np
def natural(levels):
    place = np.arange((levels - 1).bit_length())[::-1]
    return (np.arange(levels)[:, None] >> place & 1).astype(np.uint8)
CODES = {"natural": natural}
"""
FACTS: dict[str, str] = {}


@pytest.fixture(autouse=True)
def restored(tmp_path, monkeypatch):
    """Forget, after a test, the plug-ins that it loaded; files are in the current folder."""
    monkeypatch.chdir(tmp_path)
    known = [*REGISTRIES.values(), FIELDS, HINTS, OPTIONS, registry.OWNERS, registry.UNUSABLE, module.RUN]
    before = [dict(table) for table in known]
    yield
    registry.load_installed.cache_clear()
    for table, was in zip(known, before, strict=True):
        table.clear()
        table.update(was)


@pytest.fixture
def write(tmp_path):
    """Write a module of a plug-in, by default with a head; return its path."""

    def write(text=HEAD, name="mine.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_file_beside_is_found_by_path_and_by_name(write):
    path = write()
    by_name = TrainConfig.make({"head": "mine", "plugins": ["mine"]})
    assert by_name.plugins == (path,) == TrainConfig.make({"head": "mine", "plugins": [path]}).plugins
    assert by_name.loss == "l1" and by_name.plugin_options == {"slope": 2.0}
    assert TrainConfig.make(by_name.as_dict()) == by_name


def test_only_what_uses_a_plug_in_names_it(write):
    before = TrainConfig.make({"head": "direct"})
    after = TrainConfig.make({"head": "direct", "plugins": [write()]})
    assert before == after and after.plugins is None and after.plugin_options is None
    assert trial_key(before, FACTS) == trial_key(after, FACTS) and "plugin_digest" not in file_digests(after)


def test_options_of_its_own_are_fields_with_rules(write):
    values = {"head": "mine", "plugins": [write()]}
    assert TrainConfig.make(values | {"slope": "3"}).plugin_options == {"slope": 3.0}
    assert TrainConfig.make(values | {"plugin_options": {"slope": 3}}) == TrainConfig.make(values | {"slope": 3})
    for wrong, says in (
        ({"slope": 10}, "slope must be from 0.1 to 9, got 10.0"),
        ({"slope": "x"}, "slope must be a finite number, got 'x'"),
        ({"slop": 1}, "unknown config field 'slop'"),
        ({"plugin_options": {"slop": 1}}, "unknown field of a plug-in 'slop'"),
        ({"plugin_options": 3}, "plugin_options must be a mapping"),
        ({"head": "direct", "slope": 3}, "slope belongs to head mine, not to direct"),
    ):
        with pytest.raises(UserError, match=says):
            TrainConfig.make(values | wrong)
    assert make_head("mine", 8, [(0, 10)], slope=4).head.axis_heads()[0].slope == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit(open('ran', 'w').write('x'))", "assigns none of .*HEADS"),
        ("HEADS = {", "is not Python"),
        ("HEADS = {}\n1 / 0", "cannot be run: ZeroDivisionError"),
        ("HEADS = 3", "HEADS of the plug-in .* must be a mapping"),
        ("HEADS = {'mine': 3}", "must be a subclass of bel.heads.BaseHead, got 3"),
        ("CODES = {'natural': 3}", "must be a function from a number of levels"),
        ("READERS = {'mine': 3}", "must be a bel.data.protocols.Protocol"),
        (CODE.replace('"natural":', '"u":'), "codes 'u' of the plug-in mine.py .* this package has one of that name"),
        (CODE.replace('"natural":', '"a:b":'), "a name is of letters"),
        (HEAD.replace("new_fields = {", "new_fields = {} and {"), "option slope of Mine .* must be in new_fields"),
        (HEAD + CODE.replace('"natural":', '"u":'), "codes 'u' of the plug-in"),
        (HEAD.replace('"slope"', '"lr"').replace("slope", "lr"), "new field 'lr' of Mine"),
        (HEAD.replace('"slope": 2.0', '"slope": 2.0, "lr": 0.1'), "option lr of Mine .* is a field of every config"),
        (HEAD.replace('{"slope": 2.0}', '{"slope": None}'), "new field 'slope' of Mine"),
        (CODE + "raise SystemExit(0)", "cannot be run: SystemExit"),
    ],
)
def test_what_is_no_plug_in_is_refused_in_a_sentence(write, tmp_path, text, says):
    path = write(text)
    for _ in range(2):  # and again: nothing of it was registered
        with pytest.raises(UserError, match=says):
            TrainConfig.make({"head": "direct", "plugins": [path]})
    assert list(FIELDS) == list(OWN) and "mine" not in HEADS
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("plugins", "says"),
    [
        (["nowhere.py"], "nowhere.py is not there: put it back"),
        (["no.where"], "neither a file no.where.py in .* nor an installed module"),
        ([3], "plugins must be a list"),
        (3, "plugins must be a list"),
        (["json"], "the plug-in json assigns none of"),
        (["a b"], "neither a file"),
        ([""], "plugins must be a list"),
        (["a\nb"], "plugins must be a list"),
        (["x" * 5000], "neither a file"),
        (["~nobody_here/x.py"], "cannot find the plug-in"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(plugins, says):
    with pytest.raises(UserError, match=says):
        TrainConfig.make({"head": "direct", "plugins": plugins})


def test_two_heads_of_a_plug_in_share_a_field(write):
    both = HEAD.replace("HEADS =", "class Other(Mine):\n    pass\n\nHEADS =")
    path = write(both.replace("Mine}", 'Mine, "other": Other}'))
    config = TrainConfig.make({"head": "other", "plugins": [path], "slope": 3})
    assert config.plugin_options == {"slope": 3.0} and isinstance(hash(config), int)


def test_a_file_that_changes_is_told_where_a_sweep_begins_and_does_not_disturb_one_that_runs(write):
    spec = {"name": "x", "base": {"head": "mine"}, "plugins": [write()]}
    make_sweep(spec, {})
    write("# a remark\n" + HEAD)
    make_sweep(spec, {})
    write(HEAD.replace("2.0", "3.0"))
    with pytest.raises(UserError, match="has changed since this process ran it: start a new one"):
        make_sweep(spec, {})
    assert TrainConfig.make(spec["base"] | {"plugins": spec["plugins"]}).plugin_options == {"slope": 2.0}


def test_settings_may_be_of_fields_that_a_plug_in_of_another_setting_brings(write, tmp_path):
    (tmp_path / "sweep.yaml").write_text("name: x\nbase: {head: direct}\n")
    sweep = read_sweep(tmp_path / "sweep.yaml", ["slope=3", "head=mine", f"plugins=[{write()}]"])
    assert sweep.base["slope"] == 3.0 and sweep.base["plugins"] == [str(tmp_path / "mine.py")]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("np.zeros((levels, 4), np.uint8)", "matrix of code natural of the plug-in mine.py .* same|equal|twice"),
        ("np.eye(3, dtype=np.uint8)", "matrix of code natural of the plug-in mine.py"),
        ("place[None] + np.arange(levels)[:, None]", "matrix of code natural .* 0"),
        ("np.random.default_rng().integers(0, 2, (levels, 40))", "another one in each call"),
        ("1 / 0", "cannot be made for 16 levels: ZeroDivisionError"),
        ("'text'", "matrix of code natural"),
    ],
)
def test_a_matrix_of_a_plug_in_is_checked(write, returned, says):
    registry.load([write(CODE.replace("(np.arange(levels)[:, None] >> place & 1).astype(np.uint8)", returned))])
    with pytest.raises(UserError, match=says):
        code_matrix("natural", 16)


def test_a_matrix_of_a_plug_in_may_be_a_list(write):
    registry.load([write(CODE.replace(".astype(np.uint8)", ".tolist()"))])
    assert code_matrix("natural", 16).dtype == np.uint8 and code_matrix("natural", 16).shape == (16, 4)


def test_no_package_is_imported_to_look_for_a_module_in_it(write, tmp_path, monkeypatch):
    (tmp_path / "evil_package").mkdir()
    write("raise SystemExit('ran')", "evil_package/__init__.py")
    write("x = 1", "evil_package/inner.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"evil_package\.inner assigns none of"):
        registry.load(["evil_package.inner"])
    write(CODE, "evil_package/codes.py")
    with pytest.raises(UserError, match=r"evil_package\.codes cannot be imported: SystemExit: ran"):
        registry.load(["evil_package.codes"])


def test_options_of_a_plug_in_are_options_of_bel_train(write, tmp_path, small, capsys):
    fields = [f"--{name.replace('_', '-')}={value}" for name, value in (small | {"epochs": 1}).items()]
    command = [*fields, "--head=mine", "--plugins", write()]
    assert train.main([*command, "--slope=3", "--out", str(tmp_path / "out")]) == 0
    state = checkpoint.load(tmp_path / "out" / LAST)
    assert state["config"]["plugin_options"] == {"slope": 3.0} and "mine.py" in state["environment"]["plug-ins"]
    state["environment"]["plug-ins"] = "mine.py 0123456789ab"
    checkpoint.save({name: value for name, value in state.items() if name != DIGEST}, tmp_path / "out" / LAST)
    capsys.readouterr()
    assert train.main([*command, "--slope=3", "--out", str(tmp_path / "out"), "--resume"]) == 2
    assert "was trained with plug-ins mine.py 0123456789ab, and here is mine.py" in capsys.readouterr().err
    assert train.main([*command, "--slope=30", "--out", str(tmp_path / "other")]) == 2
    assert "slope must be from 0.1 to 9" in capsys.readouterr().err


def test_two_plug_ins_with_one_name(write):
    TrainConfig.make({"head": "direct", "plugins": [write()]})
    with pytest.raises(
        UserError, match=r"'mine' of the plug-in other.py .* cannot be added: mine.py .* has one of that name"
    ):
        TrainConfig.make({"head": "direct", "plugins": [write(name="other.py")]})


def keys(path):
    """Trial key and digest of a config with a plug-in, in a process of its own."""
    program = (
        "import sys; from bel.config import TrainConfig; from launch.identity import file_digests, trial_key\n"
        "config = TrainConfig.make({'head': 'mine', 'plugins': [sys.argv[1]]})\n"
        "print(trial_key(config, {}), file_digests(config)['plugin_digest'])"
    )
    return run(program, path).split(maxsplit=1)


def run(program, *arguments):
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_trial_is_identified_by_what_a_plug_in_does_and_not_by_its_place(write, tmp_path):
    first = keys(write())
    assert keys(write(HEAD.replace("\n\n", "\n# a remark\n\n"))) == first
    (tmp_path / "elsewhere").mkdir()
    assert keys(write(name="elsewhere/mine.py")) == first
    other = keys(write(HEAD.replace("self.slope * output", "self.slope + output")))
    assert other[0] != first[0] and other[1] != first[1]


@pytest.mark.slow
def test_another_process_needs_no_file(write, tmp_path):
    config = TrainConfig.make({"head": "mine", "plugins": [write()], "slope": 3})
    (tmp_path / "mine.py").unlink()
    (tmp_path / "config").write_bytes(pickle.dumps(config))
    program = (
        "import pickle, sys; from bel.heads import HEADS\n"
        "config = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(HEADS[config.head].build(8, config).axis_heads()[0].slope)"
    )
    assert run(program, str(tmp_path / "config")) == "3.0\n"
    values = repr(config.as_dict())
    program = (
        "import sys; from bel.config import TrainConfig; from bel.plugins.module import receive\n"
        "receive({sys.argv[1]: sys.argv[2]}); print(TrainConfig.make(eval(sys.argv[3])).plugin_options)"
    )
    assert run(program, str(tmp_path / "mine.py"), HEAD, values) == "{'slope': 3.0}\n"


def test_a_file_that_was_moved_is_taken_from_the_current_folder(write, tmp_path, monkeypatch):
    path = write()
    (tmp_path / "here").mkdir()
    (tmp_path / "mine.py").rename(tmp_path / "here/mine.py")
    monkeypatch.chdir(tmp_path / "here")
    assert TrainConfig.make({"head": "mine", "plugins": [path]}).plugins == (str(tmp_path / "here/mine.py"),)


def test_the_fields_of_a_config_are_those_of_its_class():
    assert list(FIELDS) == list(OWN)


def installed(monkeypatch, *entries):
    """Let entry points be found, by group, name and value."""
    found = [EntryPoint(name, value, group) for group, name, value in entries]
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry for entry in found if entry.group == group])
    registry.load_installed.cache_clear()


def test_an_entry_point_that_cannot_be_loaded_is_refused_where_it_is_used(monkeypatch):
    entries = ("bel.heads", "gone", "no_such_package:Head"), ("bel.codes", "u", "json:dumps")
    installed(monkeypatch, *entries)
    assert TrainConfig.make({"head": "bel", "code": "u"}).plugins is None
    with pytest.raises(UserError, match="head 'gone': the plug-in no_such_package:Head has it, and cannot be used: "):
        TrainConfig.make({"head": "gone"})


def test_the_contract_of_a_file(write):
    assert check_plugin(write(HEAD + CODE)) == ["heads mine", "codes natural"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CODE.replace("- 1).bit", "- 2).bit"), "must have 1 to"),
        (HEAD.replace("/ self.slope", "/ 3"), "mine gives"),
        ("import torch\nBACKBONES = {'flat': torch.nn.Flatten}", "no linear classifier"),
        (
            "import torch\nclass Blind(torch.nn.Module):\n    features = 4\n    def forward(self, x):\n"
            "        return torch.ones(len(x), 4)\nBACKBONES = {'blind': Blind}",
            "two images the same features",
        ),
    ],
)
def test_a_plug_in_that_breaks_its_contract_is_told(write, text, says):
    with pytest.raises((AssertionError, UserError), match=says):
        check_plugin(write(text))

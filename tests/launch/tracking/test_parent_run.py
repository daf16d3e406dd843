"""Whose states a sweep's folder holds, where what notes that is damaged."""

from types import SimpleNamespace

import pytest

from bel.run_layout import DRIVER
from launch.tracking.parent_run import claim_folder
from launch.tracking.trial_folder import Folder

STORE = SimpleNamespace(parent_id="a" * 32, fresh=True)


@pytest.mark.parametrize(
    "text", ['"x"', "5", "[1]", '{"parent": "b"}', '{"parent": "b", "store": "s", "driver": null}',
             '{"parent": "b", "store": "s", "driver": "host"}']
)  # fmt: skip
def test_a_damaged_note_is_none(text, tmp_path):
    (tmp_path / DRIVER).write_text(text)
    claim_folder(Folder(str(tmp_path)), STORE, print)
    assert Folder(str(tmp_path)).read_json(DRIVER)["parent"] == STORE.parent_id

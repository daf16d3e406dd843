"""What a sweep's descriptions in MLflow's UI, of its parent run and its experiment, say: leaderboard, and links to trials."""

import re

from mlflow.entities import Run
from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from bel.errors import UserError
from bel.run_layout import NOTE
from results.store.connect import connect
from results.store.runs import trials
from results.store.ui_links import keep_view, view_link

BEGIN, END = "<!-- bel-results leaderboard -->", "<!-- end of the leaderboard -->"
LEAD = "Trials: [charts] \u00b7 [table]"  # the UI shows one line of a description, and lists show it as text
BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def show_view(parent: Run) -> None:
    """Keep a view of a sweep's trials, and link it in its descriptions; a leaderboard that was published there stays."""
    keep_view(parent, trials([parent]))
    about = connect().get_experiment(parent.info.experiment_id).tags.get(NOTE, "")
    if not any(has_leaderboard(text) for text in (parent.data.tags.get(NOTE, ""), about)):
        describe(parent, "")


def has_leaderboard(text: str) -> bool:
    """Return whether a description has a leaderboard, and not links alone."""
    found = BLOCK.search(text)
    return found is not None and "\n|" in found[0]


def describe(parent: Run, markdown: str, more: str = "") -> None:
    """Write links to the trials into a sweep's descriptions, and a leaderboard with `more` below it, in place of earlier ones.

    Raises `UserError` where the rest of a description leaves no room.
    """
    client, experiment_id = connect(), parent.info.experiment_id
    text = client.get_run(parent.info.run_id).data.tags.get(NOTE, "")
    about = client.get_experiment(experiment_id).tags.get(NOTE) or BLOCK.sub("", text)
    addresses = f"[charts]: {view_link(parent)}\n[table]: {view_link(parent, charts=False)}"
    links = "\n\n".join(filter(None, (more, addresses)))
    notes = [
        described(own, markdown, links, limit)
        for own, limit in ((text, MAX_TAG_VAL_LENGTH), (about, MAX_EXPERIMENT_TAG_VAL_LENGTH))
    ]
    client.set_tag(parent.info.run_id, NOTE, notes[0])
    client.set_experiment_tag(experiment_id, NOTE, notes[1])


def described(own: str, markdown: str, links: str, limit: int) -> str:
    """Return a description that begins with links, with a leaderboard at its end, or in the place of an earlier one.

    The leaderboard is cut after a row if it is too long, and followed by the addresses of the links.
    """
    before, _, rest = own.replace(LEAD, "", 1).partition(BEGIN)
    after = rest.partition(END)[2].strip()
    rows = markdown.strip().splitlines()
    for shown in range(len(rows), -1, -1):
        cut = f"{len(rows) - shown} more lines are in `bel-results leaderboard`" if shown < len(rows) else ""
        block = [BEGIN, "\n".join(rows[:shown]).strip(), cut, links, END]
        note = "\n\n".join(part for part in (LEAD, before.strip(), *block, after) if part)
        if len(note) <= limit:
            return note
    raise UserError(
        f"a description in MLflow has at most {limit} characters, and this one leaves no room for a leaderboard: shorten "
        "the sweep's or the experiment's there"
    )

"""`bel-results report` on a real finished sweep: one page that needs nothing else and says what the store says."""

import io
import re
from functools import partial
from html import unescape

import mlflow
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from bel.codes.library import code_matrix
from bel.config import TrainConfig
from bel.errors import UserError
from results.analysis.leaderboard import boards
from results.commands import main as command
from results.commands import report
from results.commands.publish import BEGIN, END
from results.report.figures import coverage, highlights
from results.report.figures_codes import draw_codes, wrong_shares
from results.report.figures_images import jpeg, median_rows, target_text, tiles, worst_rows
from results.report.hyperparameters import ENCODING, Hyperparameter, importances, varied_hyperparameters
from results.report.overview import SHORTER
from results.report.page import Figure, Picture, Row, Section, Table, Text, render
from results.store.artifacts import fetch_predictions
from results.store.runs import find_sweeps, trials
from results.tables.leaderboard import table_lines
from tests.conftest import children, working_in


@pytest.fixture
def swept_runs(swept_store):
    """The parent run and the trials of the finished sweep."""
    (parent,) = find_sweeps(["fixture"])
    return parent, trials([parent])


@pytest.fixture(scope="module")
def html(swept, tmp_path_factory):
    """The page of the finished sweep."""
    path = tmp_path_factory.mktemp("report") / "pages" / "report.html"
    with working_in(swept[0]):
        assert command.main(["report", "fixture", "-o", str(path)]) == 0
    return path.read_text(encoding="utf-8")


def body(html):
    """The page without the script of the figures."""
    return html[html.index("<main>") :]


def test_the_page_needs_nothing_else(html):
    loads = r"""(?:src|href)=["']?(?!#|data:)[^"'\s>]+"""
    assert (
        not re.findall(loads, body(html))
        and "@import" not in html
        and "url(" not in render("", "", "", {}, [], "")[:20_000]
    )
    assert html.count("plotly.js v") == 1 and len(html) < 12e6
    assert "http" not in re.sub(r"<script.*?</script>", "", body(html), flags=re.DOTALL)


def test_every_row_of_the_table_is_on_the_page(html, swept_runs):
    (board,) = boards(swept_runs[1])
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", body(html))
    shown = [[unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td.*?</td>", line)] for line in lines]
    for cells in table_lines(board)[1:]:
        assert [SHORTER.get(cell, cell) for cell in cells] in shown
    assert "three heads on rendered heads" in html and "11 runs: 11 finished" in html
    assert html.count('class="reference"') == 9 and "not comparable with these rows" in html


def test_every_part_is_there_with_a_figure_or_a_reason(html):
    sections = re.findall(r"<section>.*?</section>", body(html), re.DOTALL)
    titles = re.findall(r'<li><a href="#([^"]+)">', html)
    assert len(sections) == len(titles) == len(report.SECTIONS)
    for anchor, section in zip(titles, sections, strict=True):
        assert f'id="{anchor}"' in section and ("<figure>" in section or 'class="absent"' in section)
    assert html.count('class="absent"') == 0, "the rendered sweep has everything"
    assert body(html).count("data:image/jpeg") == 12 and body(html).count("data:image/png") == 4


def test_without_predictions_or_images_the_parts_say_so(swept_runs, tmp_path):
    parent, runs = swept_runs
    path = tmp_path / "page.html"
    report.write(parent, runs, path, {"data_root": str(tmp_path / "nowhere")})
    assert "Left out: " in path.read_text() and path.read_text().count('class="absent"') == 1
    for run in runs:
        run.info._artifact_uri = str(tmp_path / "nothing")
    report.write(parent, runs, path)
    assert path.read_text().count("the runs have stored no predictions") == 3


def test_what_may_not_be_compared_is_fenced_off(swept_runs, tmp_path):
    parent, runs = swept_runs
    for run in runs[:3]:
        run.data.params["selection_split"] = "test"
    report.write(parent, runs, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<h3>Fenced off: selected on the test split</h3>" in text and text.count("<caption>") >= 3
    assert text.count("Grey rows are published numbers") == 2


def test_nothing_to_show_is_a_sentence(swept_runs, tmp_path):
    with pytest.raises(UserError, match=r"no trial of fixture .* run the sweep"):
        report.write(swept_runs[0], [], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_text_of_a_user_is_text(swept_runs, tmp_path):
    parent, runs = swept_runs
    note = f"<script>alert(1)</script> & $title {BEGIN} |a table| {END}"
    mlflow.MlflowClient().set_tag(parent.info.run_id, "mlflow.note.content", note)
    report.write(find_sweeps(["fixture"])[0], runs, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $title" in text and "<script>alert" not in text
    assert "|a table|" not in text, "a published leaderboard is not shown twice"


def test_every_text_on_the_page_is_escaped():
    texts = [f"""<b onload="{i}">'{{{{ 1 }}}}""" for i in range(29)]
    given = iter(texts)
    odd = partial(next, given)
    row = Row([odd(), odd(), odd()], odd(), odd())
    blocks = [
        Text(odd()),
        Text(odd(), "heading"),
        Text(odd(), odd()),
        Table([odd(), "configuration", odd()], [[row, Row([odd()], odd())]], odd(), odd()),
        Figure(odd(), picture=Picture(b"", "image/png", odd())),
        Figure(odd(), tiles=[Picture(b"", "image/png", odd(), odd())]),
    ]
    sections = [Section(odd(), blocks), Section(odd(), odd())]
    html = render(odd(), odd(), odd(), {odd(): odd()}, sections, odd())
    assert not list(given) and "<b onload" not in html
    assert all(str(escape(text)) in body(html) for text in texts)


def test_what_varies_is_what_the_space_says(swept_runs):
    (board,) = boards(swept_runs[1])
    found = [standing.configuration for standing in board.standings]
    columns = {column.name: column for column in varied_hyperparameters(found)}
    assert set(columns) >= {ENCODING, "code_bits", "loss"} and not {"head", "code", "seed", "cache_dir"} & set(columns)
    assert set(columns[ENCODING].choices) == {"u", "hex16", "direct", "classification"}
    assert all(column.conditional == (None in column.values) for column in columns.values())


def test_a_field_knows_its_scale():
    rate = Hyperparameter("lr", ["1e-3", "1e-4", "1e-3", None])
    assert rate.numeric and rate.logarithmic and rate.choices == ["1e-4", "1e-3"]
    assert rate.numbers()[:3] == pytest.approx([-3, -4, -3]) and np.isnan(rate.numbers()[3]) and rate.conditional
    assert not Hyperparameter("epochs", ["4", "8"]).logarithmic and not Hyperparameter("loss", ["ce", "4"]).numeric
    assert Hyperparameter("loss", ["l1", "ce", "l1"]).numbers().tolist() == [1, 0, 1]


class Known:
    """A configuration of which only the error is known."""

    def __init__(self, mae):
        self.mae = mae


def test_importance_is_of_what_decides():
    draw = np.random.default_rng(0)
    rates, noise = 10 ** draw.uniform(-5, -2, 120), draw.uniform(0, 1, 120)
    found = [Known(abs(np.log10(rate) + 3.5)) for rate in rates]
    columns = [Hyperparameter("lr", [str(x) for x in rates]), Hyperparameter("jitter", [str(x) for x in noise])]
    shares = importances(found, columns)
    assert sum(shares.values()) == pytest.approx(1) and shares["lr"] > 0.9 > shares["jitter"]


def test_coverage_of_a_uniform_pit_is_nominal(swept_runs):
    class Seed:
        values = {"pit": np.linspace(0, 1, 10_001).reshape(-1, 1)}  # noqa: RUF012

    class One:
        seeds = (Seed, Seed)

    nominal = np.array([0.1, 0.5, 0.95])
    assert coverage(One, nominal) == pytest.approx(nominal, abs=1e-3)


def test_wrong_bits_of_levels_are_those_of_the_images(swept_runs):
    found = [s.configuration for s in boards(swept_runs[1])[0].standings if "code" in s.configuration.params]
    one = found[0]
    stored = fetch_predictions(one.runs[0])
    for i, name in enumerate(stored.axes):
        share, overall = wrong_shares(one)[name]
        assert share.shape == (int(one.params[f"levels_{name}"]), int(one.params[f"bits_{name}"]))
        level = stored.levels[0, i]
        assert share[level] == pytest.approx(stored.wrong_bits[name][stored.levels[:, i] == level].mean(0))
        assert overall == pytest.approx(stored.wrong_bits[name].mean())
        assert np.isnan(share).all(1).sum() == len(share) - len(set(stored.levels[:, i].tolist()))
    assert draw_codes(one).startswith(b"\x89PNG")


def test_a_code_in_a_file_is_drawn_only_while_it_is_the_one_that_was_trained(swept_runs, tmp_path):
    standings = boards(swept_runs[1])[0].standings
    one = next(s.configuration for s in standings if s.configuration.params.get("code") == "u")
    sizes = {int(size) for name, size in one.params.items() if name.startswith("levels_")}
    one.runs[0].data.params["code"] = f"file:{tmp_path}/{{levels}}.npy"
    with pytest.raises(UserError, match="cannot read the code file"):
        draw_codes(one)
    for levels in sizes:
        np.save(tmp_path / f"{levels}.npy", code_matrix("u", levels))
    assert draw_codes(one).startswith(b"\x89PNG")
    for levels in sizes:
        np.save(tmp_path / f"{levels}.npy", 1 - code_matrix("u", levels))
    with pytest.raises(UserError, match=r"another code of .* than the one that was trained"):
        draw_codes(one)


def test_the_worst_images_are_the_worst_and_few_of_a_group(swept_runs, monkeypatch):
    leader = boards(swept_runs[1])[0].leader
    first = leader.seeds[0]
    errors = first.mean_errors()
    picked = worst_rows(first, errors)
    assert len(picked) == 8 and errors[picked].tolist() == sorted(errors)[::-1][:8], "one group: all may be of it"
    assert errors[median_rows(errors)].tolist() == sorted(errors)[4:8]
    monkeypatch.setattr(TrainConfig, "cache_dir", "elsewhere")  # the sweep's own has its images
    bad, _ = tiles(leader, {})
    assert [tile.name for tile in bad] == first.names[picked].tolist()
    assert all(tile.content.startswith(b"\xff\xd8") for tile in bad) and f"{errors[picked[0]]:.2f} deg" in bad[0].text
    many = first.take(np.tile(np.arange(12), 10))
    object.__setattr__(many, "groups", np.repeat([f"{i:02d}" for i in range(10)], 12))
    taken = many.groups[worst_rows(many, np.arange(120.0))].tolist()
    assert max(map(taken.count, taken)) == 2 and len(taken) == 8


def test_a_target_that_is_no_pose_has_one_picture_and_its_numbers(swept_runs):
    pixels = np.full((34, 40, 3), 90, np.uint8)
    sizes = [Image.open(io.BytesIO(jpeg(pixels, poses))).size for poses in ([], [(1, 2, 3), (4, 5, 6)])]
    assert sizes[0][0] == sizes[0][1] and sizes[1][0] > 2 * sizes[0][0]
    assert target_text(12.345, {"unit": "deg"}) == "12.3" and target_text(0.012345, {"unit": "m"}) == "0.01235"


def test_the_best_have_colours_of_their_own(swept_runs):
    best = highlights(boards(swept_runs[1])[0])
    assert len(best) == 5 == len({one.color for one in best}) == len({one.dash for one in best})
    assert [one.label[:1] for one in best] == list("12345")


def test_a_setting_that_would_change_the_numbers_is_refused(swept_store, capsys):
    assert command.main(["report", "fixture", "--set", "image_size=8"]) == 2
    assert "data_root" in capsys.readouterr().err and len(children("fixture")[1]) == 11

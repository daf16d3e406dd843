"""`bel-results report` on a real finished sweep: one page that needs nothing else and says what the store says."""

import re
from html import unescape

import mlflow
import pytest

from bel.errors import UserError
from results.analysis.leaderboard import boards
from results.commands import main as command
from results.commands import report
from results.report.overview import SHORTER
from results.report.page import render
from results.store.description import BEGIN, END
from results.store.runs import find_sweeps
from results.tables.leaderboard import table_lines
from tests.conftest import children, working_in


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
        and "url(" not in render("", "", "", {}, {}, "")[:20_000]
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


def test_every_section_has_a_figure_or_a_reason(html):
    sections = re.findall(r"<section>.*?</section>", body(html), re.DOTALL)
    titles = re.findall(r'<li><a href="#([^"]+)">', html)
    assert len(sections) == len(titles) == len(report.SECTIONS)
    for anchor, section in zip(titles, sections, strict=True):
        assert f'id="{anchor}"' in section and ("<figure>" in section or 'class="absent"' in section)
    assert html.count('class="absent"') == 0, "the rendered sweep has everything"
    assert body(html).count("data:image/jpeg") == 12 and body(html).count("data:image/png") == 4


def test_without_predictions_or_images_the_sections_say_so(swept_runs, tmp_path):
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


def test_a_setting_that_would_change_the_numbers_is_refused(swept_store, capsys):
    assert command.main(["report", "fixture", "--set", "image_size=8"]) == 2
    assert "data_root" in capsys.readouterr().err and len(children("fixture")[1]) == 11

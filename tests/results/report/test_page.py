"""Every text of a run on the page is text."""

from functools import partial

from markupsafe import escape

from results.report.page import Figure, Picture, Row, Table, Text, render


def body(html):
    """The page without the script of the figures."""
    return html[html.index("<main>") :]


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
    sections = {odd(): blocks, odd(): odd()}
    html = render(odd(), odd(), odd(), {odd(): odd()}, sections, odd())
    assert not list(given) and "<b onload" not in html
    assert all(str(escape(text)) in body(html) for text in texts)

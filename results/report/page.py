"""One HTML page that needs nothing else: numbered parts, tables, plotly figures and pictures, for screen and paper."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

STYLE = """
:root { --ink: #1c1f23; --quiet: #656b73; --rule: #d6d9dd; --wash: #f3f5f7; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 Charter, "Bitstream Charter", Cambria, Georgia, serif; }
main { width: 1080px; max-width: 100%; margin: 0 auto; padding: 36px 20px 72px; counter-reset: part figure table; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; font-weight: 600; }
h2 { font-size: 20px; margin: 46px 0 8px; padding-top: 12px; border-top: 1px solid var(--ink); font-weight: 600; }
h2::before { counter-increment: part; content: counter(part) "\\2002"; color: var(--quiet); font-weight: 400; }
h3 { font-size: 15.5px; margin: 24px 0 4px; font-weight: 600; }
p { margin: 0 0 10px; max-width: 820px; }
.lead { font-size: 17px; white-space: pre-line; }
.quiet, .date { color: var(--quiet); }
.absent { color: var(--quiet); font-style: italic; }
dl, nav, table, figcaption, caption { font-family: "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
dl { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px 24px; margin: 18px 0; padding: 12px 0;
  border: solid var(--rule); border-width: 1px 0; font-size: 12.5px; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
nav { font-size: 12.5px; } nav ol { columns: 3; margin: 4px 0 0; padding-left: 20px; }
nav a { color: inherit; text-decoration-color: var(--rule); text-underline-offset: 2px; }
figure { margin: 14px 0 24px; break-inside: avoid; }
.wide { overflow-x: auto; }
figure img { max-width: 100%; display: block; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px 12px; }
.tiles div { font: 11px/1.4 "Helvetica Neue", Helvetica, Arial, sans-serif; break-inside: avoid; overflow-wrap: anywhere; }
.tiles img { width: 100%; }
figcaption, caption { font-size: 12.5px; line-height: 1.45; color: #3b4047; text-align: left; max-width: 900px; }
figcaption { margin-top: 6px; }
figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ".\\2002"; font-weight: 600; }
caption::before { counter-increment: table; content: "Table " counter(table) ".\\2002"; font-weight: 600; }
caption { padding: 0 0 6px; }
table { border-collapse: collapse; font-size: 11px; line-height: 1.3; font-variant-numeric: tabular-nums;
  margin: 10px 0 18px; border-bottom: 1px solid var(--ink); }
th { text-align: right; font-weight: 600; vertical-align: bottom; border: solid var(--ink); border-width: 1px 0; }
th, td { padding: 3px 5px; } td { text-align: right; vertical-align: top; }
th.name, td.name { text-align: left; min-width: 130px; } td.text { text-align: left; }
td.span { white-space: nowrap; }
tr.tie td { background: #eef3f8; } tr.reference td { color: #858b93; } tr.reference:first-child td, tr.line td {
  border-top: 1px solid var(--rule); }
tbody + tbody tr:first-child td { border-top: 1px solid var(--rule); }
.swatch { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; }
details { margin-bottom: 18px; } summary { cursor: pointer; color: var(--quiet); font-size: 13px; }
footer { margin-top: 48px; border-top: 1px solid var(--rule); padding-top: 8px; font-size: 12.5px; color: var(--quiet); }
@page { size: A4 portrait; margin: 14mm 12mm; }
@media print {
  html { zoom: 0.66; } main { padding: 0; } .wide { overflow: visible; } nav a { text-decoration: none; }
  h2, h3, caption { break-after: avoid; } tr, .short { break-inside: avoid; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
SHELL = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light"><title>$title</title><style>$style</style>
<script>$plotly</script></head>
<body><main>
<header><h1>$title</h1>$head</header>
<nav aria-label="contents"><b>Contents</b><ol>$contents</ol></nav>
$parts
<footer>$foot</footer></main>
<script>addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true }))</script>
</body></html>
""")


@dataclass(frozen=True)
class Part:
    """A numbered part of the page: its title and its HTML."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def page(title: str, head: str, parts: Sequence[Part], foot: str) -> str:
    """The whole page, with plotly's script in it once."""
    return SHELL.substitute(
        title=escape(title),
        style=STYLE,
        plotly=get_plotlyjs(),
        head=head,
        contents="".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in parts),
        parts="\n".join(f'<section><h2 id="{p.anchor}">{escape(p.title)}</h2>\n{p.body}</section>' for p in parts),
        foot=foot,
    )


def paragraph(text: str, kind: str = "") -> str:
    """Text as a paragraph; of kind `absent` it says what is left out, and why."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def facts(values: dict[str, str]) -> str:
    """Names and values in columns; empty values are left out."""
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items() if value)
    return f"<dl>{''.join(pairs)}</dl>"


def plot(figure: go.Figure, caption: str) -> str:
    """A plotly figure with its caption."""
    html = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
    return framed(f'<div class="wide">{html}</div>', caption)


def framed(html: str, caption: str) -> str:
    """Anything as a figure with its caption."""
    return f"<figure>{html}<figcaption>{escape(caption)}</figcaption></figure>\n"


def image(data: bytes, kind: str, alt: str) -> str:
    """A picture inside the page; `kind` is png or jpeg."""
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def table(header: Sequence[str], bodies: Sequence[Sequence[str]], caption: str) -> str:
    """A table with its caption, of a header's titles and of bodies of finished rows; names are to the left."""
    titles = "".join(f"<th{named(title)}>{escape(title)}</th>" for title in header)
    inner = "".join(f"<tbody>{''.join(rows)}</tbody>" for rows in bodies if rows)
    head = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = "wide" if sum(map(len, bodies)) > SHORT else "wide short"
    return f'<div class="{kind}"><table>{head}<thead><tr>{titles}</tr></thead>{inner}</table></div>\n'


def row(header: Sequence[str], cells: Sequence[str], kind: str = "", swatch: str = "") -> str:
    """A table's row of text cells, with a dot of a colour before its name."""
    dot = f'<i class="swatch" style="background:{swatch}"></i>' if swatch else ""
    inner = "".join(
        f"<td{named(title, cell)}>{dot if title == NAME else ''}{escape(cell)}</td>"
        for title, cell in zip(header, cells, strict=True)
    )
    return f'<tr class="{kind}">{inner}</tr>\n' if kind else f"<tr>{inner}</tr>\n"


NAME = "configuration"
SHORT = 15  # rows of a table that is not cut on paper


def named(title: str, cell: str = "") -> str:
    """The class of a cell by its column: names to the left, an interval on one line."""
    if title == NAME:
        return ' class="name"'
    return ' class="span"' if " to " in cell else ""

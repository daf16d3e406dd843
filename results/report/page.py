"""One HTML page that needs nothing else: numbered sections of texts, tables, plotly figures and pictures, for screen and paper.

Sections are plain data; `page.html` lays them out and escapes every text.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

NAME = "configuration"  # title of the column of names, which are to the left


@dataclass(frozen=True)
class Text:
    """A paragraph; of style `absent` it says why something is left out, of style `heading` it is a heading."""

    kind: ClassVar[str] = "text"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table; the last cell spans the columns that are left. `color` is that of a dot before the name."""

    cells: Sequence[str]
    style: str = ""
    color: str = ""


@dataclass(frozen=True)
class Table:
    """A table of groups of rows with rules between them; with a `summary` it is folded below that."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    bodies: Sequence[Sequence[Row]]
    caption: str = ""
    summary: str = ""


@dataclass(frozen=True)
class Picture:
    """An image file inside the page, with its name, and a text to show below it."""

    content: bytes
    mime: Literal["image/png", "image/jpeg"]
    name: str
    text: str = ""

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Figure:
    """A plotly figure, a picture or several of them side by side, with a caption."""

    kind: ClassVar[str] = "figure"
    caption: str
    figure: go.Figure | None = None
    picture: Picture | None = None
    tiles: Sequence[Picture] = ()

    @property
    def plot(self) -> Markup:
        """The plotly figure as HTML, which the script of the page draws."""
        if self.figure is None:
            return Markup()
        return Markup(self.figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))


Block: TypeAlias = Text | Table | Figure
Content: TypeAlias = Sequence[Block] | str  # of a section: its blocks, or why it is left out


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def render(
    title: str, dates: str, description: str, facts: Mapping[str, str], sections: Mapping[str, Content], footer: str
) -> str:
    """Return the page as HTML, with plotly's script in it once; empty facts are left out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title, dates=dates, description=description, facts=facts, sections=sections, footer=footer,
        plotly=Markup(get_plotlyjs()), name_column=NAME,
    )  # fmt: skip

"""HTML pages that open from disk: tables, charts, pictures and a viewer of key frames.

Every text is escaped. The page's content security policy allows only the scripts written here and only the
pictures in the page. Without scripts, tables and pictures are still there.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from occfeat.machine.atomic import write_bytes_atomic


@dataclass(frozen=True)
class Picture:
    """A picture on a page."""

    kind: ClassVar[str] = "picture"
    source: str
    """A data URI, or a path relative to the page."""
    caption: str
    """What it shows; also read out by screen readers."""


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    texts: bool = False
    """Cells hold text that may wrap, not numbers."""


@dataclass(frozen=True)
class Chart:
    """A chart of plotly, drawn when the page is opened."""

    kind: ClassVar[str] = "chart"
    data: Sequence[Mapping[str, Any]]
    """Traces as plain values; text in them is made harmless by `charts.escaped`."""
    layout: Mapping[str, Any]
    caption: str


@dataclass(frozen=True)
class Folded:
    """Text that is folded away until a reader opens it."""

    kind: ClassVar[str] = "folded"
    title: str
    text: str


@dataclass(frozen=True)
class Frame:
    """One key frame of a viewer."""

    title: str
    images: Sequence[Sequence[Picture]]
    """What the cameras see, in rows from left to right."""
    panels: Sequence[Picture]
    """The BEV: truth and predictions."""
    scores: Mapping[str, float]
    """IoU by run."""


@dataclass(frozen=True)
class Viewer:
    """Key frames, one at a time, stepped through by buttons and arrow keys."""

    kind: ClassVar[str] = "viewer"
    frames: Sequence[Frame]

    @property
    def orders(self) -> list[dict[str, Any]]:
        """Orders of the frames: by time, and the lowest IoU first for each score."""
        names = list(dict.fromkeys(name for frame in self.frames for name in frame.scores))
        indices = range(len(self.frames))
        orders: list[dict[str, Any]] = [{"title": "in time", "indices": list(indices)}]
        for name in names:
            # Frames in which nothing is true or predicted have no score, and come last.
            by_score = sorted(indices, key=lambda index: self.frames[index].scores.get(name, 2.0))
            orders.append({"title": f"worst first: {name}", "indices": by_score})
        return orders


Part = Picture | Table | Chart | Folded | Viewer


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading."""

    title: str
    words: Sequence[str]
    parts: Sequence[Part]

    @property
    def blocks(self) -> list[tuple[str, list[Part]]]:
        """Neighbours of one kind together, so that they can be laid out beside each other."""
        return [(kind, list(parts)) for kind, parts in groupby(self.parts, key=lambda part: part.kind)]


def write_page(path: Path, title: str, words: Sequence[str], sections: Sequence[Section]) -> int:
    """Write a page.

    Args:
        path: HTML file to write.
        title: Heading of the page.
        words: Paragraphs under it.
        sections: Shown below one another, and listed at the top if there are several.

    Returns:
        Its size in bytes.

    Raises:
        RunError: The file cannot be written.
    """
    parts = [part for section in sections for part in section.parts]
    scripts = _scripts(parts)
    environment = Environment(
        loader=PackageLoader("occfeat.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=title,
        words=words,
        sections=sections,
        style=Markup(_template("page.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts, linked=any(_is_linked(part) for part in parts)),
    )
    content = text.encode("utf-8", "replace")  # file names may hold bytes that are not text
    write_bytes_atomic(path, content)
    return len(content)


def _plotly() -> str:
    """Return the script of plotly, which draws the charts."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _scripts(parts: Sequence[Part]) -> list[str]:
    """Return the scripts that the parts need, each as the text between its tags."""
    kinds = {part.kind for part in parts}
    scripts = [_plotly()] if "chart" in kinds else []
    return [*scripts, _template("page.js")] if kinds & {"chart", "viewer"} else []


def _template(name: str) -> str:
    """Return a file of `templates`."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], *, linked: bool) -> str:
    """Return the page's policy: a browser may run these very scripts, show pictures, and nothing else."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    pictures = "data: blob: file: 'self'" if linked else "data: blob:"
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src {pictures}"


def _is_linked(part: Part) -> bool:
    """Return whether a part is a picture beside the page."""
    return isinstance(part, Picture) and not part.source.startswith("data:")

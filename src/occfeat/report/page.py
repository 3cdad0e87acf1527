"""A page to look at: figures in a table, and pictures with what they show. Plain HTML, opens from disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .35rem 1rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 2rem 0; }
img { max-width: 100%; background: white; }
figcaption { opacity: .8; }
"""


@dataclass(frozen=True)
class Picture:
    """A picture on a page."""

    file: Path
    caption: str
    """What one sees in it; also what a screen reader says."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a line of headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_page(
    path: Path, title: str, words: Sequence[str], tables: Sequence[Table], pictures: Sequence[Picture]
) -> None:
    """Write a page that refers to its pictures by their place relative to it.

    Args:
        path: HTML file to write; the pictures lie in its folder or below.
        title: Heading of the page.
        words: Paragraphs under it.
        tables: Shown after the words.
        pictures: Shown after the tables.
    """
    parts = [f"<p>{escape(paragraph)}</p>" for paragraph in words]
    parts += [_table(table) for table in tables]
    parts += [_picture(picture, path.parent) for picture in pictures]
    body = "\n".join(parts)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
    path.write_text(text, encoding="utf-8")


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _picture(picture: Picture, folder: Path) -> str:
    source = escape(picture.file.relative_to(folder).as_posix(), quote=True)
    caption = escape(picture.caption)
    alt = escape(picture.caption, quote=True)
    image = f'<a href="{source}"><img src="{source}" alt="{alt}" loading="lazy"></a>'
    return f"<figure>\n{image}\n<figcaption>{caption}</figcaption>\n</figure>"

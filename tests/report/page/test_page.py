"""Pages: escaped, complete, and no request leaves them."""

import json
import re
from pathlib import Path

import pytest

from occfeat.errors import RunError
from occfeat.report.page.page import Chart, Folded, Frame, Part, Picture, Section, Table, Viewer, write_page

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
PIXEL = "data:image/png;base64,AAAA"


def page_of(folder: Path, *parts: Part, title: str = "T", words: str = "w") -> str:
    file = folder / "new" / "page.html"
    size = write_page(file, title, [words], [Section(title, [words], parts)])
    assert file.stat().st_size == size
    return file.read_text(encoding="utf-8")


def test_write_page__escapes_text_and_refers_to_its_own_folder(tmp_path: Path) -> None:
    picture = Picture("sub/a<b>.png", 'He said "<script>"')
    text = page_of(tmp_path, Table(["x<"], [["1", "<2"]], "c&"), picture, title="T & T", words="<i>")
    assert "<title>T &amp; T</title>" in text
    assert "<p>&lt;i&gt;</p>" in text
    assert '<th scope="col">x&lt;</th>' in text
    assert "<td>&lt;2</td>" in text
    assert 'src="sub/a&lt;b&gt;.png" alt="He said &#34;&lt;script&gt;&#34;"' in text
    assert "<script" not in text
    assert "script-src 'none'" in text.replace("&#39;", "'")
    assert re.findall(r"https?:|//", text) == []


def test_write_page__hostile_text_stays_text_in_every_part(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="comes with the extra `report`")
    picture = Picture(PIXEL, HOSTILE)
    parts = (
        Table([HOSTILE], [[HOSTILE]], HOSTILE),
        Folded(HOSTILE, HOSTILE),
        picture,
        Chart([{"name": HOSTILE}], {"title": HOSTILE}, HOSTILE),
        Viewer([Frame(HOSTILE, [[picture]], [picture], {HOSTILE: 0.5})]),
    )
    text = page_of(tmp_path, *parts, title=HOSTILE, words=HOSTILE)
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert text.count("</script>") == 4  # chart, viewer, plotly and our own
    data = re.search(r'<script type="application/json">(.*?)</script>', text)
    assert data is not None
    assert json.loads(data[1])["data"][0]["name"] == HOSTILE
    assert 'img-src data: blob:">' in text


def test_write_page__lists_sections_if_there_are_several(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_page(file, "T", [], [Section("one", [], []), Section("two", [], [])])
    text = file.read_text()
    assert '<a href="#section-2">two</a>' in text
    assert '<section id="section-2">' in text
    assert "<nav" not in page_of(tmp_path)


def test_write_page__names_that_are_no_characters(tmp_path: Path) -> None:
    assert "<p>a?b</p>" in page_of(tmp_path, words="a\udcffb")


def test_write_page__into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="could not be written"):
        write_page(tmp_path / "file" / "page.html", "T", [], [])


def test_viewer__orders_by_score_with_unknown_ones_last() -> None:
    scores: list[dict[str, float]] = [{"a": 0.5, "b": 0.1}, {}, {"a": 0.2, "b": 0.3}]
    viewer = Viewer([Frame(str(number), [], [], one) for number, one in enumerate(scores)])
    assert [order["indices"] for order in viewer.orders] == [[0, 1, 2], [2, 0, 1], [0, 2, 1]]
    assert [order["title"] for order in viewer.orders] == ["in time", "worst first: a", "worst first: b"]

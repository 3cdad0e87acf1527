"""The page of a demo: escaped, complete, and no request leaves it."""

import re
from pathlib import Path

from occfeat.report.page import Picture, Table, write_page


def test_write_page__escapes_text_and_refers_to_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    picture = Picture(tmp_path / "sub" / "a<b>.png", 'He said "<script>"')
    write_page(tmp_path / "p.html", "T & T", ["<i>"], [Table(["x<"], [["1"], ["<2"]])], [picture])
    text = (tmp_path / "p.html").read_text()
    assert "<title>T &amp; T</title>" in text
    assert "<p>&lt;i&gt;</p>" in text
    assert '<th scope="col">x&lt;</th>' in text
    assert "<td>&lt;2</td>" in text
    assert 'src="sub/a&lt;b&gt;.png" alt="He said &quot;&lt;script&gt;&quot;"' in text
    assert "<script" not in text
    assert re.findall(r"https?:|//", text) == []

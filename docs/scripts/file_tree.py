"""Writes the file tree of both packages, each file with the first sentence of its docstring.

Run by every build of the documentation. By hand: `python docs/scripts/file_tree.py FOLDER`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
PACKAGES = ("occfeat", "streetworld")


def first_sentence(path: Path) -> str:
    """Return what a file is, in the words of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9`)])\. ", paragraph)[0].removesuffix(".")


def rows(folder: Path, indent: str = "") -> Iterator[str]:
    """Yield one line per file of a package, then those of its sub-packages, indented."""
    init = folder / "__init__.py"
    yield f"{indent}{folder.name}/  {first_sentence(init)}"
    files = sorted(path for path in folder.glob("*.py") if path != init)
    width = max((len(path.name) for path in files), default=0)
    for path in files:
        yield f"{indent}  {path.name:<{width}}  {first_sentence(path)}"
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from rows(inner, indent + "  ")


def tree() -> str:
    """Return one fenced block per package."""
    blocks = ["\n".join(["```text", *rows(SRC / name), "```"]) for name in PACKAGES]
    return "\n\n".join(blocks) + "\n"


def main(folder: Path) -> None:
    """Write the tree as a Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file_tree.md").write_text(tree(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Writes the file tree of the README from the first sentence of each file's docstring.

By hand, after a file was added, removed or renamed: `python docs/file_tree.py`. A test compares the two.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "occfeat"
BLOCK = re.compile(r"```text\nsrc/occfeat/\n.*?```\n", re.DOTALL)


def first_sentence(path: Path) -> str:
    """What a file is, in the words of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z`)])\. ", paragraph)[0].removesuffix(".")


def lines(paths: list[Path], indent: str) -> list[str]:
    """One aligned line per file."""
    width = max((len(path.name) for path in paths), default=0)
    return [f"{indent}{path.name:<{width}}  {first_sentence(path)}" for path in paths]


def tree() -> str:
    """The fenced block of the README: every file of the package, room by room."""
    rows = lines(sorted(PACKAGE.glob("*.py")), "  ")
    for room in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        files = sorted(path for path in room.glob("*.py") if path.name != "__init__.py")
        rows += [f"  {room.name}/", *lines(files, "    ")]
    return "\n".join(["```text", "src/occfeat/", *rows, "```", ""])


def main() -> None:
    """Bring the README up to date."""
    readme = ROOT / "README.md"
    text = BLOCK.sub(lambda _: tree(), readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

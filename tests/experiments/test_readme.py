"""The table of contents of `experiments/`."""

import re

from tests.experiments.scripts import FOLDER

README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_readme__names_every_script_and_every_ledger() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|sh|jsonl))`", README))
    scripts = [*FOLDER.glob("*.py"), *FOLDER.glob("concluded/[!_]*.*"), *FOLDER.glob("*/run.sh")]
    assert {path.relative_to(FOLDER).as_posix() for path in scripts} <= named
    assert {path.name for path in (FOLDER / "ledgers").iterdir()} <= named

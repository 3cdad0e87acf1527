"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

`make lowest` installs exactly these and runs the tests.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(project: dict[str, object]) -> dict[str, str]:
    """Return the lowest version of each requirement that has one, also of those of the extras.

    Args:
        project: The table `project` of pyproject.toml.
    """
    optional = project.get("optional-dependencies", {})
    extras = optional.values() if isinstance(optional, dict) else ()
    texts = [text for group in (project["dependencies"], *extras) for text in group]  # type: ignore[attr-defined]
    found = (re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", text) for text in texts)
    return {match[1]: match[2] for match in found if match}


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(lowest(project).items()))

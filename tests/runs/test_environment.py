"""A run folder names the commit of this project, and of no other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from occfeat.runs import environment

PACKAGE = Path(environment.__file__).parent


def _git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit."""
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "mine.txt").write_text("mine")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "mine")
    return tmp_path


def test_commit__of_a_repository_that_holds_the_package_is_recorded(repository: Path) -> None:
    shutil.copytree(PACKAGE, repository / "src")
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "--message", "the package")
    assert environment._commit(repository / "src") == _git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("ignored", [True, False])
def test_commit__of_a_repository_that_the_package_is_only_installed_in_is_not(
    repository: Path, ignored: bool
) -> None:
    shutil.copytree(PACKAGE, repository / ".venv" / "runs")
    if ignored:
        (repository / ".gitignore").write_text(".venv\n")
    assert environment._commit(repository / ".venv" / "runs") is None


def test_commit__outside_of_repositories_is_none(tmp_path: Path) -> None:
    assert environment._commit(tmp_path) is None

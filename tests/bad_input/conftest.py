"""A command that is refused, and a run to refuse things of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from occfeat.cli import main
from tests.support.small_runs import Flags

Refused = Callable[[list[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must end with exit code 2, and give what it printed."""

    def run(words: list[str]) -> str:
        try:
            code: object = main(words)
        except SystemExit as stop:  # raised by the parser of flags
            code = stop.code
        printed = capsys.readouterr()
        assert code == 2, printed
        assert "Traceback" not in printed.err
        return printed.err + printed.out

    return run


@pytest.fixture(scope="module")
def pretrained(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pre"
    assert main(flags("pretrain", run, "--optim.epochs", "1", "--loss.features", "0")) == 0
    return run

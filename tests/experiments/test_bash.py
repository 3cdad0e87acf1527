"""What bash 3.2, which macOS has, would not do."""

import re

import pytest

from tests.experiments.scripts import FOLDER


@pytest.mark.parametrize("script", ["first_three/run.sh", "overfit_key_frames.sh"])
def test_lists_of_options_may_be_empty(script: str) -> None:
    """To it an empty array is not set, which `set -u` refuses; with `${a[@]+"${a[@]}"}` it is not read."""
    text = (FOLDER / "concluded" / script).read_text()
    empty = re.findall(r"^(\w+)=\(\)", text, flags=re.MULTILINE)
    assert empty
    for name in empty:
        guarded = f'${{{name}[@]+"${{{name}[@]}}"}}'
        code = re.sub(r"(^|\s)#.*", "", text)
        assert code.count(f"${{{name}[@]}}") == code.count(guarded) > 0

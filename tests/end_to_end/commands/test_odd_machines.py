"""Commands where nothing is as usual: no home, a user id without a name, an ASCII terminal, strict rights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table

CODE = """
import sys
from occfeat.cli import main
data, out = sys.argv[1:]
for words in (["index", data], ["check", data], ["view", data, "--out", out + "/key-frame.png"]):
    if code := main(words):
        sys.exit(f"{words}: {code}")
"""
NAMELESS = 12345
"""An id that no user has."""


def anyone_may_run(path: Path) -> bool:
    """Whether a user without rights can reach a file."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


@pytest.mark.skipif(os.name != "posix", reason="ids and rights of POSIX")
@pytest.mark.parametrize("writable", [True, False])
def test_commands__where_nothing_is_as_usual(tmp_path: Path, writable: bool) -> None:
    """Neither the data folder nor the package can be written by the user, if the tests run as root."""
    data, out = build_nuscenes_folder(tmp_path / "data"), tmp_path / "out"
    edit_table(data, "scene", lambda records: [one.update(name=f"Zürich-{one['name']}") for one in records])
    splits = {"train": [one["name"] for one in json.loads((data / "v1.0-mini" / "scene.json").read_bytes())]}
    (data / "splits.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(splits, ensure_ascii=False).encode())
    out.mkdir()
    out.chmod(0o777)
    for path in (data, *data.rglob("*")):
        path.chmod(0o777 if writable else 0o555)
    environment = {"PATH": os.defpath, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "TMPDIR") if name in os.environ}
    switch = os.geteuid() == 0 and all(map(anyone_may_run, (Path(sys.executable), tmp_path, Path(__file__))))
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CODE, str(data), str(out)],
        env=environment,
        umask=0o077,
        user=NAMELESS if switch else None,
        group=NAMELESS if switch else None,
        extra_groups=[] if switch else None,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert b"Z\\xfcrich" in ran.stdout + ran.stderr
    assert [path.name for path in out.iterdir()] == ["key-frame.png"]

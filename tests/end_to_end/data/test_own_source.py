"""A data format of the user's, from the check to the report."""

from pathlib import Path

import pytest

import occfeat
from occfeat.cli import main
from occfeat.data.formats import sources
from occfeat.data.formats.sources import register_source
from occfeat.errors import SettingsError
from tests.support.own_source import Drives, build_drives_folder
from tests.support.small_runs import Flags


@pytest.mark.slow
def test_own_source__from_check_to_report(
    flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading processes are forked, so they know what was registered here."""
    monkeypatch.setattr(sources, "_registered", dict(sources._registered))
    register_source(Drives)
    data, pre, tuned = build_drives_folder(tmp_path / "drives"), tmp_path / "pre", tmp_path / "tuned"
    assert occfeat.check(data).exit_code == 0
    assert "learn: 2 key frames" in str(occfeat.index(data))
    shared = ("--data", str(data), "--split", "learn", "--optim.epochs", "2", "--engine.workers", "2")
    assert main([*flags("pretrain", pre), *shared]) == 0
    words = (*shared, "--start", str(pre), "--val-split", "judge", "--classes", "vehicle")
    assert main([*flags("finetune", tuned), *words]) == 0
    engine = {"workers": 0, "device": "cpu"}
    metrics = occfeat.evaluate(tuned, data=data, split="learn", engine=engine).metrics
    assert 0 <= metrics["vehicle_iou/all"] <= 1
    assert "vehicle_iou/visible" not in metrics  # it has no levels of visibility
    with pytest.raises(SettingsError, match="which boxes of two key frames are of one object"):
        occfeat.evaluate(tuned, data=data, split="learn", out=tmp_path / "moving", motion=True, engine=engine)
    occfeat.analyse(pre, data=data, split="all", clusters=3, device="cpu")
    pytest.importorskip("plotly", reason="comes with the extra `report`")
    occfeat.write_report([pre, tuned], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "judge" in page
    assert "north" in page or "south" in page

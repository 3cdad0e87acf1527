from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from occfeat.data.check import check as checking
from occfeat.data.check import files as looking
from occfeat.data.check.check import Report, check, quick_check
from occfeat.data.check.files import image_files, lidar_files
from occfeat.data.index.index import Index
from occfeat.errors import DatasetError, SettingsError
from occfeat.settings.sections import DataConfig, EngineConfig, ViewConfig
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table


def found(report: Report) -> dict[str, int]:
    return {problem.kind: problem.count for problem in report.problems}


def test_check__content(folder: Path) -> None:
    report = check(DataConfig(root=folder))
    assert found(report) == {}
    assert (report.key_frames, report.complete, report.decoded) == (6, 6, 6)
    assert report.text().endswith("No problems found.")


def test_check__a_split(folder: Path, index: Index) -> None:
    (folder / index.key_frame(5).cameras[0].path).unlink()
    assert found(check(DataConfig(root=folder), "mini_train")) == {}
    report = check(DataConfig(root=folder), "mini_val")
    assert found(report) == {"missing image": 1}
    assert (report.key_frames, report.complete) == (3, 2)
    with pytest.raises(SettingsError):
        check(DataConfig(root=folder), "test")


def test_check__without_lidar(tmp_path: Path) -> None:
    """A set without a LiDAR is a set of its own kind; one that lacks single records is incomplete."""
    report = check(DataConfig(root=build_nuscenes_folder(tmp_path, lidars={})))
    assert found(report) == {}
    assert "pretraining is not" in report.notes[0]


def test_check__some_lidar_records_missing(folder: Path) -> None:
    edit_table(
        folder,
        "sample_data",
        lambda records: records.remove(next(one for one in records if "samples/LIDAR" in one["filename"])),
    )
    assert found(check(DataConfig(root=folder))) == {"no LiDAR record": 1}
    assert found(check(DataConfig(root=folder), needs={"cameras"})) == {}


def test_check__some_cameras_missing_is_a_note(folder: Path) -> None:
    edit_table(
        folder,
        "sample_data",
        lambda records: records.remove(next(one for one in records if "CAM_BACK" in one["filename"])),
    )
    report = check(DataConfig(root=folder))
    assert found(report) == {}
    assert report.notes[0] == "1 key frames have no record of some of the 6 cameras."


@pytest.mark.parametrize("location", ["singapore-onenorth", "../../../etc/passwd"])
def test_check__missing_map_expansion_is_a_note(folder: Path, location: str) -> None:
    edit_table(folder, "log", lambda records: [one.update(location=location) for one in records])
    report = check(DataConfig(root=folder))
    assert found(report) == {}
    (note,) = report.notes
    assert location in note
    assert "drivable_area" in note
    expansion = folder / "maps" / "expansion" / f"{location}.json"
    if location.startswith("s"):
        expansion.parent.mkdir(parents=True)
        expansion.write_text("{}")
        assert check(DataConfig(root=folder)).notes == ()


def test_check__decodes_some_or_all(folder: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage inside a file shows when it is decoded; a cut end shows always."""
    monkeypatch.setattr(checking, "DECODED_KEY_FRAMES", 2)
    lidar = folder / index.key_frame(2).sweeps[0].path
    lidar.write_bytes(b"\xff" * lidar.stat().st_size)
    image = folder / index.key_frame(3).cameras[0].path
    image.write_bytes(image.read_bytes()[:-40])
    assert found(check(DataConfig(root=folder))) == {"damaged image": 1}
    assert found(check(DataConfig(root=folder), decode=True)) == {"damaged image": 1, "damaged LiDAR file": 1}


def test_check__many_problems_are_counted_and_cut(folder: Path) -> None:
    for path in (folder / "samples" / "LIDAR_TOP").iterdir():
        path.unlink()
    (problem,) = check(DataConfig(root=folder)).problems
    assert (problem.kind, problem.count, len(problem.first)) == ("missing LiDAR file", 6, 5)
    text = check(DataConfig(root=folder)).text()
    assert "6 x missing LiDAR file" in text
    assert "... and 1 more" in text
    assert "Extract the LiDAR archives" in text


def test_files__equal_the_key_frames(index: Index) -> None:
    rows = index.rows("mini_val")[::-1]
    records = [index.key_frame(row, sweeps=5) for row in rows]
    assert [file.token for file in image_files(index, rows, index.channels)] == [
        camera.token for record in records for camera in record.cameras
    ]
    front = list(image_files(index, rows, ("CAM_FRONT",)))
    assert [file.path for file in front] == [record.cameras[0].path for record in records]
    assert front[0].size == (90, 160)
    assert [file.token for file in lidar_files(index, rows, 5)] == [
        sweep.token for record in records for sweep in reversed(record.sweeps)
    ]


def test_quick_check(folder: Path, index: Index, caplog: pytest.LogCaptureFixture) -> None:
    rows, view = index.rows("all"), ViewConfig()
    quick_check(index, rows, view=view, needs_lidar=True)
    (folder / index.key_frame(0).sweeps[0].path).unlink()
    (folder / index.key_frame(1).cameras[3].path).unlink()
    with pytest.raises(DatasetError, match=r"1 of 6 key frames in .* cannot be used") as caught:
        quick_check(index, rows, view=view, needs_lidar=True, engine=EngineConfig())
    assert index.key_frame(0).sweeps[0].path in str(caught.value)
    assert index.key_frame(0).sweeps[0].token in str(caught.value)
    assert "--engine.max-broken" in str(caught.value.hint)
    with pytest.raises(DatasetError, match="1 of 6 key frames") as caught:
        quick_check(index, rows, view=view, needs_lidar=True)
    assert "--engine.max-broken" not in str(caught.value.hint)
    quick_check(index, rows[2:], view=view, needs_lidar=True)
    quick_check(index, rows, view=view, needs_lidar=True, engine=EngineConfig(max_broken=1))
    assert "1 of 6 key frames" in caplog.text


def test_quick_check__images(folder: Path, index: Index, caplog: pytest.LogCaptureFixture) -> None:
    """One key frame in twenty may lack images, at least one; a key frame without any image is broken."""
    rows, view = index.rows("all"), ViewConfig()
    (folder / index.key_frame(1).cameras[3].path).unlink()
    quick_check(index, rows, view=view, needs_lidar=True, engine=EngineConfig())
    assert "1 of 6 key frames in" in caplog.text
    assert "lack a camera" in caplog.text
    assert index.key_frame(1).cameras[3].path in caplog.text
    caplog.clear()
    quick_check(index, rows, view=ViewConfig(cameras=("CAM_FRONT",)), needs_lidar=False)
    assert not caplog.text
    with pytest.raises(DatasetError, match="lack a camera") as caught:
        quick_check(index, rows, view=view, needs_lidar=False, engine=EngineConfig(max_incomplete=0))
    assert "--engine.max-incomplete" in str(caught.value.hint)
    (folder / index.key_frame(2).cameras[0].path).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2 of 6 key frames in .* lack a camera"):
        quick_check(index, rows, view=view, needs_lidar=False, engine=EngineConfig())
    quick_check(index, rows, view=view, needs_lidar=False, engine=EngineConfig(max_incomplete=0.2))
    quick_check(index, rows, view=view, needs_lidar=False)  # such as `occfeat analyse`, which has no limit
    with pytest.raises(DatasetError, match=r"1 of 6 key frames in .* cannot be used"):
        quick_check(index, rows, view=ViewConfig(cameras=("CAM_FRONT",)), needs_lidar=False)


def test_check__a_lost_image_costs_itself(folder: Path, index: Index) -> None:
    for row, cameras in ((1, index.key_frame(1).cameras[:1]), (2, index.key_frame(2).cameras)):
        assert len(index.key_frame(row).cameras) == 6
        for camera in cameras:
            (folder / camera.path).unlink()
    report = check(DataConfig(root=folder))
    assert found(report) == {"missing image": 7}
    assert report.complete == 4
    assert "1 key frames are used without some camera." in report.notes


def test_quick_check__earlier_sweeps(folder: Path, index: Index) -> None:
    (folder / index.key_frame(1, sweeps=2).sweeps[1].path).unlink()
    rows = index.rows("all")
    quick_check(index, rows, view=ViewConfig(), needs_lidar=True)
    with pytest.raises(DatasetError, match="1 of 6"):
        quick_check(index, rows, view=ViewConfig(sweeps=2), needs_lidar=True)


def test_quick_check__no_lidar_at_all(tmp_path: Path) -> None:
    index = Index.open(DataConfig(root=build_nuscenes_folder(tmp_path, lidars={})))
    quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=False)
    with pytest.raises(DatasetError, match="6 of 6"):
        quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=True)


def test_check__files_are_handed_out_in_blocks(
    folder: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, few wait to be looked at; nothing is lost where blocks meet."""
    waiting: list[int] = []

    class Pool(ThreadPoolExecutor):
        def map(self, look: Callable[..., Any], *files: Any, **options: Any) -> Iterator[Any]:
            waiting.append(len(files[0]))
            return super().map(look, *files, **options)

    monkeypatch.setattr(looking, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(looking, "BLOCK", 5)
    for row in range(6):
        image = folder / index.key_frame(row).cameras[row].path
        image.write_bytes(image.read_bytes()[:-40])
    report = check(DataConfig(root=folder))
    assert found(report) == {"damaged image": 6}
    assert sum(waiting) == 6 * 7  # six cameras and a LiDAR
    assert max(waiting) == 5


@pytest.mark.data
def test_check__real_key_frames(nuscenes_root: Path) -> None:
    report = check(DataConfig(root=nuscenes_root), decode=True)
    assert found(report) == {"missing LiDAR file": 2}
    assert (report.key_frames, report.complete) == (3, 1)

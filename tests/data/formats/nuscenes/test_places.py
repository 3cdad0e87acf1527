import logging
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.check.check import check
from occfeat.data.index.index import Index
from occfeat.data.source.place import Place
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import Records, edit_table

BOTH = Place("singapore-onenorth", "maps/empty.png")


def places(folder: Path) -> list[Place]:
    """Place of the first key frame of each of the two scenes."""
    index = Index.open(DataConfig(root=folder))
    return [index.key_frame(row).place for row in (0, 3)]


def test_place__of_the_log_that_a_scene_names(folder: Path) -> None:
    def move(records: Records) -> None:
        records[1]["location"] = "boston-seaport"

    edit_table(folder, "log", move)
    assert places(folder) == [BOTH, Place("boston-seaport", "maps/empty.png")]
    index = Index.open(DataConfig(root=folder))
    assert index.places(index.rows("all")) == (BOTH, Place("boston-seaport", "maps/empty.png"))
    assert index.places(index.rows("mini_train")) == (BOTH,)
    assert index.places(np.array([], dtype=np.int64)) == ()


def test_place__without_tables_is_not_known(folder: Path) -> None:
    (folder / "v1.0-mini" / "map.json").unlink()
    assert places(folder) == [Place("singapore-onenorth")] * 2
    (folder / "v1.0-mini" / "log.json").unlink()
    assert places(folder) == [Place()] * 2


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]", '[{"token": 3}]', "[{}]", "[]"])
@pytest.mark.parametrize("table", ["log", "map"])
def test_place__damaged_tables_stop_nothing(
    folder: Path, table: str, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "v1.0-mini" / f"{table}.json").write_text(content)
    assert places(folder) == [Place() if table == "log" else Place("singapore-onenorth")] * 2
    caplog.set_level(logging.INFO)
    caplog.clear()  # an earlier test may have left the level so low that the first opening was logged
    places(folder)
    assert not any(message.startswith("Building") for message in caplog.messages)


def test_place__unknown_log_is_a_fault_of_the_tables_alone(folder: Path) -> None:
    def point_nowhere(records: Records) -> None:
        records[0]["log_token"] = "nonsense"
        del records[1]["log_token"]

    edit_table(folder, "scene", point_nowhere)
    assert places(folder) == [Place()] * 2
    report = check(DataConfig(root=folder))
    (problem,) = report.problems
    assert (problem.kind, problem.count, report.complete) == ("dangling token", 1, 6)
    assert "'nonsense'" in problem.first[0]


@pytest.mark.parametrize("tokens", [None, "log", [None, 3, "log that is not there"]])
def test_place__maps_of_impossible_logs(folder: Path, tokens: object) -> None:
    def change(records: Records) -> None:
        good = {**records[0], "token": "other", "log_tokens": records[0]["log_tokens"][1:]}
        records[:] = [{**records[0], "log_tokens": tokens}, good]

    edit_table(folder, "map", change)
    assert places(folder) == [Place("singapore-onenorth"), BOTH]


def test_place__changed_log_is_seen_and_the_fingerprint_stays(folder: Path, index: Index) -> None:
    def move(records: Records) -> None:
        records[0]["location"] = "boston-seaport"

    edit_table(folder, "log", move)
    assert places(folder)[0].location == "boston-seaport"
    assert Index.open(DataConfig(root=folder)).fingerprint == index.fingerprint

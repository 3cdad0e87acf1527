from pathlib import Path
from typing import Any

import pytest

from occfeat.errors import SettingsError
from occfeat.report.page.groups import Group, Spread, group_runs, require_comparable, spreads
from occfeat.report.page.runs import RunFiles
from occfeat.runs.saved_settings import settings_text
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.sections import EngineConfig, GridConfig


def run_of(name: str, fingerprint: str = "f", **settings: Any) -> RunFiles:
    config = FinetuneConfig(data=Path("/data"), out=Path("/runs") / name, **settings)
    return RunFiles(
        path=Path("/runs") / name,
        name=name,
        command="finetune",
        settings=config,
        environment={"data_fingerprint": fingerprint},
        card=None,
        rows=[],
    )


def names(groups: list[Group]) -> list[tuple[str, list[str]]]:
    return [(group.name, [run.name for run in group.runs]) for group in groups]


def test_group_runs__by_all_but_seed_and_draw() -> None:
    runs = [
        run_of("none-0"),
        run_of("none-1", label_seed=1),
        run_of("none-2", engine=EngineConfig(seed=3, workers=0)),
        run_of("frozen", freeze=True),
    ]
    assert names(group_runs(runs)) == [
        ("none", ["none-0", "none-1", "none-2"]),
        ("frozen", ["frozen"]),
    ]


def test_group_runs__started_from_pretrainings_that_differ_by_chance(tmp_path: Path) -> None:
    runs = []
    for name, seed, weight in (("a-0", 0, 1.0), ("a-1", 1, 1.0), ("b", 0, 0.5)):
        start = tmp_path / name
        start.mkdir()
        loss = {"occupancy": weight, "features": 1.0}
        config = PretrainConfig(data=Path("/d"), out=start, engine=EngineConfig(seed=seed), loss=loss)
        (start / "settings.yaml").write_text(settings_text(config))
        runs.append(run_of(f"{name}-tuned", start=start))
    assert names(group_runs(runs)) == [
        ("a", ["a-0-tuned", "a-1-tuned"]),
        ("b-tuned", ["b-tuned"]),
    ]


def test_group_runs__whose_names_say_the_same_are_listed() -> None:
    runs = [run_of("x-0"), run_of("x-1", label_seed=1), run_of("x", freeze=True)]
    assert [group.name for group in group_runs(runs)] == ["x-0, x-1", "x"]


def test_spread__is_mean_and_range() -> None:
    assert str(Spread.of([0.25])) == "0.2500"
    assert str(Spread.of([0.1, 0.4, 0.1])) == "0.2000 (0.1000 to 0.4000)"
    assert str(Spread.of([0.1, None])) == "0.1000, 1 of 2 runs"


def test_spreads__leaves_out_what_no_run_knows() -> None:
    group = Group("g", (run_of("a"), run_of("b")))
    found = spreads(group, [{"iou": 0.2, "nothing": None}, {"iou": 0.4}])
    assert list(found) == ["iou"]
    assert str(found["iou"]) == "0.3000 (0.2000 to 0.4000)"


def test_require_comparable__names_what_differs() -> None:
    other = GridConfig(lower_m=(-16, -16, -1), upper_m=(16, 16, 3), cell_m=(1, 1, 1))
    require_comparable([run_of("a"), run_of("b", freeze=True)])
    with pytest.raises(SettingsError, match="b: grid"):
        require_comparable([run_of("a"), run_of("b", grid=other)])
    with pytest.raises(SettingsError, match="c: data of /data, but a: other data"):
        require_comparable([run_of("a"), run_of("c", fingerprint="g")])

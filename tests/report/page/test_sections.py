"""Sections of a report, from runs that were never run."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from occfeat.report.page.groups import Group, group_runs
from occfeat.report.page.page import Chart, Picture, Section, Table
from occfeat.report.page.runs import AnalysisResults, Cost, EvaluationResults, RunFiles
from occfeat.report.page.sections import (
    analysis_sections,
    evaluation_sections,
    robustness_sections,
    runs_section,
    training_sections,
)
from occfeat.report.pictures.plots import save_figure
from occfeat.segmentation.robustness.results import RobustnessResults
from occfeat.settings.commands import FinetuneConfig

METRIC = "vehicle_iou/all"


def run_of(name: str, seed: int = 0, freeze: bool = False, **found: Any) -> RunFiles:
    config = FinetuneConfig(data=Path("/data"), out=Path("/r") / name, label_seed=seed, freeze=freeze)
    environment = {"gpu": None, "cores": 2, "versions": {"occfeat": "0.1.0"}}
    known = {"environment": environment, "card": None, "rows": []} | found
    return RunFiles(Path("/r") / name, name, "finetune", config, **known)


def evaluated(split: str, iou: float | None, key_frames: int = 5) -> EvaluationResults:
    return EvaluationResults(
        split=split, key_frames=key_frames, broken=0, threshold=0.5, metrics={METRIC: iou}
    )


def robust(names: tuple[str, ...], rate: float, **changed: Any) -> RobustnessResults:
    score = {"iou": rate / 2, "resilience_rate": rate}
    content = {
        "format": 1,
        "split": "val",
        "key_frames": 5,
        "data_fingerprint": "f",
        "images": "generated",
        "seed": 0,
        "baseline": None,
        "clean": {METRIC: 0.5},
        "corrupted": {name: {"easy": {METRIC: rate / 2}} for name in names},
        "scores": {
            METRIC: {"by_corruption": dict.fromkeys(names, score), "by_kind": {"blur": score}, "mean": score}
        },
    }
    return RobustnessResults.model_validate(content | changed)


def tables(section: Section) -> list[Table]:
    return [part for part in section.parts if isinstance(part, Table)]


def test_what_was_run__says_once_what_all_have_in_common() -> None:
    differing, common = tables(runs_section(group_runs([run_of("a-0"), run_of("a-1", 1)])))
    assert differing.headings == ["run", "labels"]
    assert differing.rows == [["a-0", "1, draw 0"], ["a-1", "1, draw 1"]]
    assert ["hardware", "2 cores"] in common.rows
    assert ["group", "a"] in common.rows


def test_what_came_out__groups_and_single_runs_by_split() -> None:
    runs = [
        run_of("a-0", evaluations=(evaluated("val", 0.2), evaluated("test", 0.1))),
        run_of("a-1", 1, evaluations=(evaluated("val", 0.4),)),
        run_of("b", freeze=True, evaluations=(evaluated("val", None, key_frames=4),)),
    ]
    val, test = evaluation_sections(group_runs(runs))
    assert (val.title, test.title) == ("IoU on val", "IoU on test")
    grouped, single = tables(val)
    assert grouped.rows == [["a", "2", "0.3000 (0.2000 to 0.4000)"]]
    assert single.rows == [["a-0", "0.2000"], ["a-1", "0.4000"], ["b", "-"]]
    assert "4 key frames, 0 broken or 5 key frames, 0 broken" in val.words[0]
    assert tables(test)[0].rows == [["a", "1", "0.1000, 1 of 2 runs"]]


def test_how_it_learned__leaves_gaps_for_what_is_not_a_number() -> None:
    rows = [{"step": 1, "loss": 2.0, "time/loading": 0.1}, {"step": 2, "loss": None}]
    (section,) = training_sections(group_runs([run_of("a", rows=rows), run_of("b", freeze=True)]))
    chart, table = section.parts
    assert isinstance(chart, Chart)
    assert [trace["x"] for trace in chart.data] == [[1.0]]
    assert isinstance(table, Table)
    assert table.rows == [["a", "-"]]


def test_how_robust__what_was_evaluated_otherwise_stands_apart() -> None:
    three, two = ("Fog", "Snow", "LowLight"), ("Fog", "Snow")
    runs = [
        run_of("a-0", robustness=(robust(three, 0.4), robust(two, 0.5))),
        run_of("a-1", 1, robustness=(robust(three, 0.6),)),
        run_of("b", freeze=True, robustness=(robust(three, 0.8, data_fingerprint="g"),)),
    ]
    first, second, third = robustness_sections(group_runs(runs))
    iou, kinds = tables(first)
    assert iou.headings == ["", "a"]
    assert [row[0] for row in iou.rows] == ["clean", *three, "mRR"]
    assert ["Fog", "0.2500 (0.2000 to 0.3000)"] in iou.rows
    assert kinds.rows == [["blur", "0.5000 (0.4000 to 0.6000)"]]
    assert [isinstance(section.parts[0], Chart) for section in (first, second, third)] == [True, False, True]
    assert tables(third)[0].headings == ["", "b"]


def test_what_it_means__metrics_and_the_pictures_that_are_there(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 2))
    for name in ("probe", "window", "notes"):
        save_figure(figure, tmp_path / f"{name}.png")
    results = AnalysisResults(
        split="val",
        key_frames=2,
        voxels={"car": 3, "other": 4},
        probe_auc={"teacher": {"car": 0.9}, "student": {"car": 0.8}},
        probe_auc_by_distance={"teacher": {"car": {"0-10 m": 0.7}, "mean": {"0-10 m": 0.75}}},
        clusters={"teacher": {"nmi": 0.5}},
        cosine_by_class={"all": None},
        cosine_by_distance={"0-10 m": 0.25},
        occupancy_by_distance={"0-10 m": {"iou": 0.125}},
    )
    group = Group("a", (run_of("a", analyses=((tmp_path, results),)),))
    (section,) = analysis_sections([group])
    assert section.words == ["7 voxels of 2 key frames of val."]
    shown = tables(section)
    assert shown[0].rows == [["teacher", "0.9000"], ["student", "0.8000"]]
    assert shown[1].rows == [["teacher", "0.7500"]]
    assert shown[3].rows == [["cosine", "-"]]
    assert shown[5].rows == [["0-10 m", "0.1250"]]
    window, probe = [part for part in section.parts if isinstance(part, Picture)]
    assert probe.source.startswith("data:image/jpeg;base64,")
    assert "linear probe" in probe.caption
    assert "sweeps" in window.caption


def test_what_it_means__leaves_out_what_was_not_learned(tmp_path: Path) -> None:
    results = AnalysisResults(
        split="val",
        key_frames=2,
        voxels={"car": 3},
        probe_auc={"bev": {"car": 0.9}},
        clusters={"bev": {"nmi": 0.5}},
        cosine_by_class={},
        cosine_by_distance={},
        occupancy_by_distance={"0-10 m": {"iou": 0.125}},
    )
    (section,) = analysis_sections([Group("a", (run_of("a", analyses=((tmp_path, results),)),))])
    captions = [table.caption for table in tables(section)]
    assert len(captions) == 3
    assert not any("cosine" in caption for caption in captions)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.2, "5 s"), (119.0, "119 s"), (150.0, "2.5 min"), (9000.0, "2.5 h")]
)
def test_duration__in_the_unit_one_would_say(seconds: float, words: str) -> None:
    (table,) = tables(runs_section(group_runs([run_of("a", cost=Cost(seconds={"training": seconds}))])))
    assert ["training time", words] in table.rows

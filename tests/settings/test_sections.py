import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from occfeat.commands.layers import base_layer
from occfeat.errors import SettingsError
from occfeat.runs.card import ModelCard
from occfeat.settings import commands as commands
from occfeat.settings import sections as config
from occfeat.settings import students as student_config
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, build_partial, merge
from occfeat.settings.sections import (
    AugmentConfig,
    DataConfig,
    GridConfig,
    OptimConfig,
    PretrainLossConfig,
    QueryConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.strict import Strict
from occfeat.settings.students import KINDS, STUDENTS, BevFormerConfig, SimpleBevConfig

REQUIRED = {"data": "/data/nuscenes", "out": "runs/pre"}
MODELS = [
    value
    for value in (*vars(config).values(), *vars(student_config).values(), *vars(commands).values())
    if isinstance(value, type) and issubclass(value, Strict) and value is not Strict
]


def test_import__needs_no_torch() -> None:
    code = "import sys, occfeat.settings.commands; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"epoch": 3}, "epoch"),
        ({"optim": {"epoch": 3}}, "optim.epoch"),
        ({"student": {"kind": "simplebev", "heads": 8}}, "student.simplebev.heads"),
        ({"loss": {"lambda": 0.01}}, "loss.lambda"),
    ],
)
def test_unknown_keys__are_named(settings: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PretrainConfig.model_validate(REQUIRED | settings)
    (error,) = caught.value.errors()
    assert error["type"] == "extra_forbidden"
    assert ".".join(str(part) for part in error["loc"]) == where


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (OptimConfig, {"epochs": 0}, "greater than or equal to 1"),
        (OptimConfig, {"epochs": True}, "expected another value than true"),
        (OptimConfig, {"learning_rate": False}, "expected another value than false"),
        (OptimConfig, {"learning_rate": 0}, "greater than 0"),
        (OptimConfig, {"learning_rate": float("nan")}, "finite number"),
        (OptimConfig, {"student_rate": 0}, "greater than 0"),
        (OptimConfig, {"student_rate": 2}, "less than or equal to 1"),
        (OptimConfig, {"layer_decay": 0}, "greater than 0"),
        (OptimConfig, {"layer_decay": 1.1}, "less than or equal to 1"),
        (OptimConfig, {"ema": -0.1}, "greater than or equal to 0"),
        (OptimConfig, {"ema": 1.5}, "less than or equal to 1"),
        (OptimConfig, {"learning_rate": "fast"}, "valid number"),
        (OptimConfig, {"warmup": 1.0}, "less than 1"),
        (OptimConfig, {"batch_size": 6, "micro_batch_size": 4}, "a multiple of micro_batch_size 4"),
        (PretrainLossConfig, {"occupancy": 0, "unknown": "ignore"}, "occupancy weight above 0"),
        (QueryConfig, {"distance_m": 0}, "greater than 0"),
        (QueryConfig, {"returns": 0}, "greater than or equal to 1"),
        (PretrainLossConfig, {"features": -0.01}, "greater than or equal to 0"),
        (AugmentConfig, {"scale": (1.2, 0.8)}, "the smaller one first"),
        (AugmentConfig, {"scale": (0.0, 1.0)}, "two positive numbers"),
        (ViewConfig, {"image_size": (0, 400)}, "greater than or equal to 1"),
        (ViewConfig, {"image_size": (224, 400, 3)}, "at most 2 items"),
        (GridConfig, {"lower_m": (0.0, 0.0)}, "Field required"),
        (GridConfig, {"upper_m": (float("inf"), 50.0, 5.0)}, "finite number"),
        (GridConfig, {"cell_m": (0.0, 1.0, 1.0)}, "axis x: expected finite bounds and cells above 0"),
        (
            GridConfig,
            {"lower_m": (-50.0, 50.0, -4.5)},
            "axis y: expected a lower bound below the upper, got 50.0 m",
        ),
        (GridConfig, {"cell_m": (0.5, 0.5, 3.0)}, "axis z: expected a whole number of 3 m cells, got 10 m"),
        (GridConfig, {"cell_m": (0.05, 0.05, 0.1)}, "at most 268,435,456 cells"),
        (SimpleBevConfig, {"kind": "bevformer"}, "simplebev"),
    ],
)
def test_bad_values__are_refused(model: type[BaseModel], settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate(settings)


@pytest.mark.parametrize("fraction", [0, -0.1, 2, 1.0001, float("nan")])
def test_label_fraction__is_above_0_and_at_most_1(fraction: float) -> None:
    with pytest.raises(ValidationError, match="label_fraction"):
        FinetuneConfig.model_validate(REQUIRED | {"label_fraction": fraction})


def test_label_fraction__borders() -> None:
    assert FinetuneConfig.model_validate(REQUIRED | {"label_fraction": 1}).label_fraction == 1
    assert FinetuneConfig.model_validate(REQUIRED | {"label_fraction": 0.01}).label_fraction == 0.01


def test_settings__are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        OptimConfig().epochs = 3  # type: ignore[misc]


def test_settings__survive_yaml() -> None:
    settings = PretrainConfig.model_validate(
        REQUIRED | {"teacher": {"block": 10}, "optim": {"batch_size": 8, "micro_batch_size": 2}}
    )
    again = PretrainConfig.model_validate(yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json"))))
    assert again == settings
    assert again.teacher == TeacherConfig(block=10)
    assert again.data == settings.data == (Path("/data/nuscenes"),)


def test_paths__mean_the_same_in_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    layer = {
        "data": "~/nuscenes",
        "out": "run",
        "teacher_cache": "cache",
        "teacher": {"weights": "teacher.pth"},
        "student": {"backbone_weights": "~/backbone.pth"},
    }
    config = build(PretrainConfig, layer)
    assert (config.data, config.teacher_cache) == ((Path("/home/me/nuscenes"),), (tmp_path / "cache",))
    assert config.teacher.weights == str(tmp_path / "teacher.pth")
    assert config.student.backbone_weights == "/home/me/backbone.pth"
    assert (DataConfig(root="~/nuscenes").root,) == config.data
    monkeypatch.chdir("/")
    assert PretrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("word", ["hub", "none", "packaged"])
def test_weights__that_are_a_word_stay_one(word: str) -> None:
    assert SimpleBevConfig(backbone_weights=word).backbone_weights == word
    assert TeacherConfig(weights=word).weights == word


def test_paths__of_an_unknown_user_are_no_bug() -> None:
    assert DataConfig(root="~nobody-of-this-name/nuscenes").root.is_absolute()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_settings__are_documented(model: type[Strict]) -> None:
    assert model.__doc__
    plain = [
        name
        for name, field in model.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Strict))
    ]
    assert [name for name in plain if not model.model_fields[name].description] == []


def test_defaults__are_the_published_ones() -> None:
    settings = PretrainConfig.model_validate(REQUIRED)
    assert settings.loss.features == 0.01
    assert settings.optim.epochs == 50
    assert settings.view.sweeps == 1
    assert settings.teacher.image_size == (224, 392)
    cells = [
        round((high - low) / cell)
        for low, high, cell in zip(
            settings.grid.lower_m, settings.grid.upper_m, settings.grid.cell_m, strict=True
        )
    ]
    assert cells == [200, 200, 8]


def test_student__each_kind_has_its_own_settings() -> None:
    for kind, settings in STUDENTS.items():
        config = PretrainConfig.model_validate(REQUIRED | {"student": {"kind": kind}})
        assert type(config.student) is settings
        again = PretrainConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
        assert again == config
    unsaid = PretrainConfig.model_validate(REQUIRED | {"student": {"image_channels": 8}})
    assert unsaid.student == SimpleBevConfig(image_channels=8)


def test_student__unknown_kind_is_told_the_kinds() -> None:
    with pytest.raises(ValidationError, match=re.escape(f"one of {', '.join(KINDS)} [")):
        PretrainConfig.model_validate(REQUIRED | {"student": {"kind": "simplebef"}})


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ({"depth_bins": 3}, "student.depth_bins is a setting of lss, but this student is simplebev"),
        ({"kind": "lss", "layers": 3}, "student.layers is a setting of bevformer, but this student is lss"),
        ({"kind": "lss", "depth_bin": 3}, "Unknown setting: student.depth_bin (did you mean depth_bins?)"),
        ({"kind": "lss", "depth_bins": 0}, "student.depth_bins: Input should be greater"),
        ({"kind": "lss", "depth_m": (9, 3)}, "the smaller one first"),
    ],
)
def test_student__settings_of_another_kind_name_both(student: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(PretrainConfig, REQUIRED | {"student": student})
    assert said in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        build_partial(PretrainConfig, {"student": student}, None)
    assert said in str(caught.value)


def test_student__another_kind_above_keeps_what_both_have(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("student: {kind: bevformer, layers: 2}")
    layer = base_layer(PretrainConfig, recipe="cpu-small", config=file)
    student = build(PretrainConfig, layer | REQUIRED).student
    assert student == BevFormerConfig(
        backbone="tf_efficientnet_lite0",
        backbone_weights="packaged",
        freeze_stem=True,
        image_channels=32,
        bev_channels=48,
        layers=2,
    )
    layer = merge(layer, {"student": {"kind": "lss"}})
    assert build(PretrainConfig, layer | REQUIRED).student.kind == "lss"
    layer = merge(
        base_layer(PretrainConfig, recipe="paper-bevformer-r50"), {"student": {"kind": "bevformer"}}
    )
    assert build(PretrainConfig, layer | REQUIRED).student == BevFormerConfig(backbone="resnet50")


def test_base_layer__of_a_run_to_start_from_come_network_and_images_of_the_recipe_how_to_learn(
    tmp_path: Path,
) -> None:
    started = ModelCard(
        stage="pretraining",
        student=SimpleBevConfig(backbone="resnet18"),
        grid=GridConfig(cell_m=(1, 1, 1)),
        view=ViewConfig(image_size=(64, 96)),
    )
    (tmp_path / "model.json").write_text(started.model_dump_json())
    above = {"start": tmp_path / "weights.safetensors"}
    layer = base_layer(FinetuneConfig, recipe="cpu-small", above=above)
    tuned = build(FinetuneConfig, layer | REQUIRED)
    assert (tuned.student, tuned.grid, tuned.view) == (started.student, started.grid, started.view)
    assert (
        tuned.optim == build(FinetuneConfig, base_layer(FinetuneConfig, recipe="cpu-small") | REQUIRED).optim
    )
    assert tuned.optim != OptimConfig()


def test_recipe__with_an_objective_differs_in_the_loss_alone() -> None:
    plain = base_layer(PretrainConfig, recipe="paper-simplebev-r50")
    occupancy = base_layer(PretrainConfig, recipe="paper-simplebev-r50+occupancy")
    assert {name for name in plain if plain[name] != occupancy[name]} == {"loss"}
    assert occupancy["loss"]["features"] == 0
    assert base_layer(PretrainConfig, recipe="cpu-small+img-also")["loss"]["queries"] == 1


@pytest.mark.parametrize("name", ["paper", "cpu-small+", "cpu-small+img", "+occupancy"])
def test_recipe__that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        base_layer(PretrainConfig, recipe=name)
    assert name in str(caught.value)
    assert "cpu-small" in str(caught.value)
    assert "+img-also" in str(caught.value)


@pytest.mark.parametrize("student", ["{kind: [a]}", "{kind: {a: 1}}", "{kind: 3}", "{kind: ~}", "[1]", "5"])
def test_student__of_a_kind_that_is_no_name(tmp_path: Path, student: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"student: {student}")
    with pytest.raises(SettingsError, match="student"):
        build(PretrainConfig, base_layer(PretrainConfig, recipe="cpu-small", config=tmp_path / "mine.yaml"))


@pytest.mark.parametrize("classes", [(), ("vehicle", "vehicle")])
def test_finetune__classes_are_some_and_all_different(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="classes"):
        FinetuneConfig.model_validate({**REQUIRED, "classes": classes})


def test_augment__a_crop_stays_on_the_image() -> None:
    with pytest.raises(ValidationError, match="shift"):
        AugmentConfig(shift=0.6)

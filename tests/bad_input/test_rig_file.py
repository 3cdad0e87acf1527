"""What a user can get wrong in a rig file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occfeat.commands.deploy.predict import read_rig_file
from occfeat.errors import KeyFrameError, SettingsError
from occfeat.geometry.lens import PINHOLE, Lens


def test_rig_file__names_its_missing_image_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camera = {"image": "front.jpg", "intrinsics": np.eye(3).tolist(), "ego_from_camera": np.eye(4).tolist()}
    Path("rig.json").write_text(json.dumps({"cameras": [camera]}))
    with pytest.raises(KeyFrameError) as caught:
        read_rig_file(Path("rig.json"))
    assert caught.value.message == f"Image {tmp_path / 'front.jpg'} is missing."
    assert caught.value.hint == "Paths in rig.json are relative to that file."


def test_rig_file__names_the_matrix_that_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    camera = {"image": "a.png", "intrinsics": np.eye(3).tolist(), "ego_from_camera": np.eye(4).tolist()}
    short = {**camera, "intrinsics": [[1, 0, 0], [0, 1], [0, 0, 1]]}
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": [camera, short]}))
    with pytest.raises(SettingsError, match=r"cameras\.1\.intrinsics is not 3 x 3"):
        read_rig_file(tmp_path / "rig.json")


@pytest.mark.parametrize(
    ("lens", "said"),
    [
        ({"model": "fisheye", "coefficients": []}, "Expected a lens model, got 'fisheye'"),
        ({"model": "brown_conrady", "coefficients": [0.1]}, "Expected 4 or 5 or 8 coefficients"),
        ({"model": "kannala_brandt", "coefficients": [0.1, 0, 0, 1e9]}, "Expected finite coefficients"),
        ({"model": "kannala_brandt", "coefficients": "0.1"}, "Expected a list of numbers"),
        ("pinhole", "Expected a lens with model and coefficients"),
        (None, "Expected a lens with model and coefficients"),
    ],
)
def test_rig_file__names_the_camera_whose_lens_is_none(tmp_path: Path, lens: object, said: str) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    camera = {"image": "a.png", "intrinsics": np.eye(3).tolist(), "ego_from_camera": np.eye(4).tolist()}
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": [camera, {**camera, "lens": lens}]}))
    with pytest.raises(SettingsError) as caught:
        read_rig_file(tmp_path / "rig.json")
    assert caught.value.first[0].startswith("cameras.1.lens: ")
    assert said in caught.value.first[0]


def test_rig_file__lens_of_a_camera(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    camera = {"image": "a.png", "intrinsics": np.eye(3).tolist(), "ego_from_camera": np.eye(4).tolist()}
    fisheye = Lens("kannala_brandt", (0.1, 0.0, -0.02, 0.0))
    content = {"cameras": [camera, {**camera, "lens": fisheye.as_record()}]}
    (tmp_path / "rig.json").write_text(json.dumps(content))
    assert read_rig_file(tmp_path / "rig.json").lenses == (PINHOLE, fisheye)


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"cameras": []}', '{"cameras": [{"image": "x.jpg"}]}'])
def test_rig_file__that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "rig.json").write_text(content)
    with pytest.raises(SettingsError, match=r"rig\.json cannot be used"):
        read_rig_file(tmp_path / "rig.json")


def test_rig_file__problems_are_few_and_plain(tmp_path: Path) -> None:
    (tmp_path / "rig.json").write_text('{"cameras": [{}, {"imag": "x.jpg"}]}')
    with pytest.raises(SettingsError) as caught:
        read_rig_file(tmp_path / "rig.json")
    assert caught.value.first[0] == "cameras.0.image: Field required"
    assert caught.value.first[3:] == ("and 4 more",)
    assert "pydantic" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"nowhere\.json does not exist"):
        read_rig_file(tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read_rig_file(tmp_path)

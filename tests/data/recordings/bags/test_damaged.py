"""Bags that are cut off, damaged, incomplete or written by other programs: what is there is read."""

import re
import shutil
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.images import read_image
from occfeat.data.recordings.bags.inspect import inspect_bag
from occfeat.data.recordings.bags.messages import Decoder, Definition
from occfeat.errors import DatasetError, MessageError
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.recordings.bag_writer import BagFile, Form, image_topic, write_scene_as_bag

TOPIC = image_topic("CAM_FRONT")
IMAGE = "sensor_msgs/msg/CompressedImage"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folder") / "set"
    return build_nuscenes_folder(out, key_frames=40, returns=2000, sweeps=0, image_size=(180, 320))


def read(paths: Sequence[Path], topic: str = TOPIC) -> tuple[list[int], tuple[str, ...]]:
    """Times of all images of a topic, which are decoded, and what is damaged."""
    with open_bag(paths) as bag:
        times_us = [read_image(message).header.time_us for message in bag.messages([topic])]
        return times_us, bag.damage


def the_file(bag: Path) -> Path:
    return bag if bag.is_file() else next(one for one in bag.iterdir() if one.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("keeps_metadata", [True, False])
@pytest.mark.parametrize(
    ("form", "compression"),
    [("ros1", ""), ("ros1", "lz4"), ("sqlite3", ""), ("mcap", ""), ("mcap", "storage")],
)
def test_bag_that_is_cut_off__gives_what_is_there(
    folder: Path, tmp_path: Path, form: Form, compression: str, keeps_metadata: bool
) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag", form, compression=compression)
    whole, damage = read([bag])
    assert (len(whole), damage) == (40, ())
    file = the_file(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    if not keeps_metadata and bag.is_dir():
        (bag / "metadata.yaml").unlink()
    some, damage = read([bag])
    assert some == whole[: len(some)]
    assert 15 <= len(some) <= 27
    assert any("is not complete" in one for one in damage)
    assert any("is read without its index" in one and "messages are there" in one for one in damage), damage
    with open_bag([bag]) as opened:
        faults = inspect_bag(opened).faults
    assert any("is not complete" in fault for fault in faults)


@pytest.mark.parametrize("form", ["sqlite3", "mcap"])
def test_folder_without_metadata__is_read(folder: Path, tmp_path: Path, form: Form) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag", form)
    whole, _ = read([bag])
    (bag / "metadata.yaml").unlink()
    times_us, damage = read([bag])
    assert times_us == whole
    assert damage == (f"{bag} is not complete: Expected metadata file {str(bag)!r} does not exist.",)


@pytest.mark.parametrize(("form", "compression"), [("ros1", "lz4"), ("mcap", "storage")])
def test_damaged_chunk__is_skipped_and_the_rest_is_read(
    folder: Path, tmp_path: Path, form: Form, compression: str
) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag", form, compression=compression)
    whole, _ = read([bag])
    file = the_file(bag)
    content = bytearray(file.read_bytes())
    magic = re.escape(b"\x04\x22\x4d\x18") + b"|" + re.escape(b"\x28\xb5\x2f\xfd")  # LZ4, Zstandard
    starts = [one.start() for one in re.finditer(magic, content)]
    middle = starts[len(starts) // 2]
    content[middle : middle + 50] = bytes(50)  # the head of a compressed chunk
    file.write_bytes(content)
    some, damage = read([bag])
    assert set(some) < set(whole)
    assert len(some) >= 20
    assert {some[0], some[-1]} == {whole[0], whole[-1]}
    assert any("is damaged at log time" in one for one in damage)


def test_missing_split__leaves_the_others(folder: Path, tmp_path: Path) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag")
    other = write_scene_as_bag(folder, tmp_path / "other", scene="scene-0103")
    whole, _ = read([bag])
    metadata = (bag / "metadata.yaml").read_text()
    assert "- bag.mcap" in metadata
    (bag / "metadata.yaml").write_text(metadata.replace("- bag.mcap", "- bag.mcap\n    - bag_1.mcap"))
    times_us, damage = read([bag])
    assert times_us == whole
    assert any("bag_1.mcap" in one for one in damage)
    shutil.copy(other / "other.mcap", bag / "bag_1.mcap")
    assert len(read([bag])[0]) == 80


def test_mcap_of_another_program__is_read(folder: Path, tmp_path: Path) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag")
    file = the_file(bag)
    content = file.read_bytes()
    assert content[17:25] == b"\4\0\0\0ros2"
    (length,) = struct.unpack_from("<Q", content, 9)
    file.write_bytes(
        content[:9] + struct.pack("<Q", length - 4) + bytes(4) + content[25:]
    )  # without a profile
    times_us, damage = read([file])
    assert len(times_us) == 40
    assert any("Profile is not ros2" in one for one in damage)


def test_topics_in_other_encodings__are_named_and_left_out(tmp_path: Path) -> None:
    def text(content: str) -> bytes:
        return struct.pack("<I", len(content)) + content.encode()

    def record(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + struct.pack("<Q", len(body)) + body

    schema = struct.pack("<H", 1) + text("foxglove.CompressedImage") + text("protobuf") + text("")
    channel = struct.pack("<HH", 1, 1) + text("/cam") + text("protobuf") + struct.pack("<I", 0)
    message = struct.pack("<HIQQ", 1, 0, 5, 5) + b"abc"
    parts = [record(1, text("") + text("x")), record(3, schema), record(4, channel), record(5, message)]
    (tmp_path / "a.mcap").write_bytes(b"\x89MCAP0\r\n" + b"".join(parts))
    with pytest.raises(DatasetError, match="cannot be read"):
        open_bag([tmp_path / "a.mcap"])
    with BagFile(tmp_path / "b") as bag:
        bag.write("/c", IMAGE, 10, bag.compressed(10, "c", b""))
    with open_bag([tmp_path / "b"]) as opened:
        assert opened.damage == ()


@pytest.mark.parametrize("form", ["ros1", "mcap", "sqlite3"])
def test_types_that_are_not_defined__come_from_the_distribution(tmp_path: Path, form: Form) -> None:
    with BagFile(tmp_path / "bag", form) as bag:
        bag.write("/c", IMAGE, 10, bag.compressed(10, "c", b"abc"))
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/c"])
        message.decoder._definitions = {}
        message.decoder._stores = {}
        assert message.decode().data.tobytes() == b"abc"


def test_message_whose_bytes_are_a_number__is_left_out(folder: Path, tmp_path: Path) -> None:
    bag = write_scene_as_bag(folder, tmp_path / "bag", "sqlite3")
    with closing(sqlite3.connect(the_file(bag))) as database, database:
        (number,) = database.execute(
            "SELECT messages.id FROM messages JOIN topics ON topic_id = topics.id WHERE name = ? LIMIT 1",
            (TOPIC,),
        ).fetchone()
        database.execute("UPDATE messages SET data = 7 WHERE id = ?", (number,))
    times_us, damage = read([bag])
    assert len(times_us) == 39
    assert any("a message has no time or no bytes" in one for one in damage)


def test_field_with_another_name__is_refused_whatever_its_letters() -> None:
    text = get_typestore(Stores.ROS2_JAZZY).generate_msgdef("geometry_msgs/msg/TransformStamped")[0]
    spoiled = text.replace("child_frame_id", "child_framE_id")
    for definition in (text, spoiled):
        kind = "geometry_msgs/msg/TransformStamped"
        decoder = Decoder({kind: Definition(definition)}, is_ros1=False, distribution="ros2_jazzy")
        with pytest.raises(MessageError) as error:
            decoder.decode(kind, b"")
        assert ("other fields than ROS" in str(error.value)) == (definition is spoiled)

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.check.listing import Listing
from occfeat.data.source.paths import leaves, resolve
from occfeat.errors import KeyFrameError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "samples").mkdir(parents=True)
    (root / "samples" / "a.jpg").write_bytes(b"abc")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return root


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "samples/../../secret.txt", "/etc/passwd", "..\\secret", "C:\\x", "", ".", "a\0b"],
)
def test_resolve__names_that_leave(root: Path, name: str) -> None:
    with pytest.raises(KeyFrameError):
        resolve(root, name)
    assert Listing(root).look_up(name).leaves_root


def test_resolve__inside(root: Path) -> None:
    assert resolve(root, "samples/a.jpg").read_bytes() == b"abc"
    listing = Listing(root)
    assert listing.look_up("samples/a.jpg").size == 3
    assert listing.look_up("samples/b.jpg").size == -1
    assert listing.look_up("sweeps/b.jpg").size == -1
    assert listing.look_up("samples").size == -1


def test_resolve__link_out(root: Path) -> None:
    (root / "samples" / "out.jpg").symlink_to(root.parent / "secret.txt")
    (root / "sweeps").symlink_to(root.parent)
    for name in ("samples/out.jpg", "sweeps/secret.txt"):
        with pytest.raises(KeyFrameError, match="by a link"):
            resolve(root, name)
        assert Listing(root).look_up(name).leaves_root


@pytest.mark.parametrize("name", ["samples/..", "samples/..\\x", "samples/a\0b", "samples//../../x"])
def test_resolve__names_that_leave_a_folder_seen_before(root: Path, name: str) -> None:
    assert resolve(root, "samples/a.jpg").is_file()
    with pytest.raises(KeyFrameError):
        resolve(root, name)


def test_resolve__links_made_later(root: Path) -> None:
    assert not resolve(root, "samples/later.jpg").exists()
    assert resolve(root, "samples/a.jpg").is_file()
    (root / "samples" / "later.jpg").symlink_to(root.parent / "secret.txt")
    with pytest.raises(KeyFrameError, match="by a link"):
        resolve(root, "samples/later.jpg")
    assert not resolve(root, "maps/secret.txt").exists()
    (root / "maps").symlink_to(root.parent)
    with pytest.raises(KeyFrameError, match=r"secret\.txt. leaves the data folder .* by a link"):
        resolve(root, "maps/secret.txt")


def test_resolve__link_inside(root: Path) -> None:
    (root / "samples" / "b.jpg").symlink_to("a.jpg")
    (root / "sweeps").symlink_to("samples")
    for name in ("samples/b.jpg", "sweeps/a.jpg", "sweeps/b.jpg"):
        assert resolve(root, name).read_bytes() == b"abc"
        assert Listing(root).look_up(name).size == 3


def test_resolve__broken_and_circular_links(root: Path) -> None:
    (root / "samples" / "gone.jpg").symlink_to("nothing.jpg")
    (root / "samples" / "loop.jpg").symlink_to("loop.jpg")
    assert Listing(root).look_up("samples/gone.jpg").size == -1
    with pytest.raises(KeyFrameError):
        resolve(root, "samples/loop.jpg")


def test_resolve__linked_root(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert resolve(link, "samples/a.jpg").read_bytes() == b"abc"
    assert Listing(link).look_up("samples/a.jpg").size == 3


@given(st.text(alphabet="./\\ac:", max_size=10))
def test_leaves__what_is_let_through_stays_inside(name: str) -> None:
    if not leaves(name):
        inside = Path("/root").joinpath(name)
        assert inside.is_relative_to("/root")
        assert ".." not in inside.parts

"""Which files of a folder are data: hidden ones are not, links are followed, nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.helpers.other_user import as_other_user, shared_folder

from darkroom.storage import SourceFiles, list_source, open_store
from darkroom.storage.source import hidden_part

HIDDEN = [
    ".ipynb_checkpoints/a-checkpoint.csv",
    "._a.png",
    ".DS_Store",
    ".AppleDouble/a.png",
    ".git/a.png",
    ".Trash-1000/files/a.png",
    "__MACOSX/cats/._a.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "@tmp/a.png",
    "Network Trash Folder/a.png",
    "lost+found/a.png",
    "#recycle/a.png",
    "#a.csv#",
    "$RECYCLE.BIN/a.png",
    "System Volume Information/a.png",
    "Thumbs.db",
    "Desktop.ini",
    "~backup/a.png",
    "~$a.csv",
    "a.csv~",
    "_temporary/0/a.parquet",
    "_SUCCESS",
    "_committed_123",
    "_delta_log/0.json",
    "a_$folder$",
    "__pycache__/a.pyc",
]
DATA = ["_DSC0001.JPG", "_a.csv", "a~b.png", "cats_and_dogs/#1.png", "temporary/a.png", "$5.png"]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"data")
    return folder


def listed(folder: Path) -> SourceFiles:
    return list_source(open_store(folder))


def keys(folder: Path) -> list[str]:
    return [info.key for info in listed(folder).files]


@pytest.mark.parametrize("key", HIDDEN)
@pytest.mark.parametrize("above", ["", "cats/deep/"])
def test_what_systems_leave_behind_is_no_data(tmp_path: Path, key: str, above: str) -> None:
    assert hidden_part(above + key) == above + key.split("/", maxsplit=1)[0]
    found = listed(fill(tmp_path, above + key, "a.png"))
    assert [info.key for info in found.files] == ["a.png"]
    assert found.hidden == {above + key.split("/", maxsplit=1)[0]}


@pytest.mark.parametrize("key", DATA)
def test_other_odd_names_are_data(tmp_path: Path, key: str) -> None:
    assert hidden_part(key) is None
    assert keys(fill(tmp_path, key)) == [key]


def test_a_root_below_a_hidden_folder_is_read(tmp_path: Path) -> None:
    assert keys(fill(tmp_path / ".cache/data", "a.png")) == ["a.png"]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.png", "deep/2.png")
    root = fill(tmp_path / "in", "cats/3.png")
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    (root / "wolves").symlink_to(tmp_path / "elsewhere")
    (root / "cats/4.png").symlink_to(tmp_path / "elsewhere/1.png")
    (tmp_path / "in-link").symlink_to(root)
    wanted = ["cats/3.png", "cats/4.png"]
    wanted += [f"{name}/{file}" for name in ("dogs", "wolves") for file in ("1.png", "deep/2.png")]
    assert keys(root) == wanted
    assert keys(tmp_path / "in-link") == wanted


def test_a_link_back_up_ends_there(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "a/b/1.png", "c/2.png")
    (root / "a/b/root").symlink_to(root)
    (root / "a/b/self").symlink_to(".")
    (root / "a/c").symlink_to(root / "c")
    (root / "c/a").symlink_to(root / "a")
    found = listed(root)
    files = [info.key for info in found.files]
    assert files == ["a/b/1.png", "a/c/2.png", "c/2.png", "c/a/b/1.png"]
    assert not found.unreadable


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path, "cats/1.png")
    (root / "cats/gone.png").symlink_to("nowhere.png")
    (root / "dogs").symlink_to("/nowhere/dogs")
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "cats/pipe.png")
    found = listed(root)
    assert [info.key for info in found.files] == ["cats/1.png"]
    assert [(item.key, item.problem) for item in found.unreadable] == [
        ("cats/gone.png", "is a link to nowhere.png, which is not there"),
        ("cats/pipe.png", "is neither a file nor a folder"),
        ("circle", "is a link in a circle"),
        ("dogs", "is a link to /nowhere/dogs, which is not there"),
    ]


def test_what_may_not_be_read_is_named_or_an_error() -> None:
    imports = (
        "import json\n"
        "from darkroom.errors import StorageAccessError\n"
        "from darkroom.storage import list_source, open_store\n"
        "from darkroom.storage.local import LocalStore"
    )
    code = (
        "for folder in sys.argv[1:]:\n"
        "    try:\n"
        "        found = list_source(open_store(folder))\n"
        "        files = [info.key for info in found.files]\n"
        "        print(json.dumps([files, [[u.key, u.problem] for u in found.unreadable]]))\n"
        "    except StorageAccessError as error:\n"
        "        print(json.dumps([str(error), error.exit_code]))\n"
    )
    with shared_folder() as folder:
        file = fill(folder / "file", "cats/1.png", "cats/2.png")
        (file / "cats/2.png").chmod(0)
        closed = fill(folder / "closed", "cats/1.png", "dogs/1.png")
        (closed / "dogs").chmod(0)
        unnamed = fill(folder / "unnamed", "cats/1.png")  # names may be read, files not
        (unnamed / "cats").chmod(0o444)
        linked = fill(folder / "linked", "cats/1.png")
        (linked / "dogs").symlink_to(closed / "dogs")
        mount = fill(folder / "mount", "cats/1.png", "lost+found/1.png")
        (mount / "lost+found").chmod(0)
        roots = (file, closed, unnamed, linked, mount)
        lines = [json.loads(line) for line in as_other_user(imports, code, *roots).splitlines()]
    assert lines[0] == [["cats/1.png"], [["cats/2.png", "permission denied"]]]
    for number, path in ((1, closed / "dogs"), (2, unnamed / "cats"), (3, linked / "dogs")):
        assert f"{path}', cannot be listed (permission denied)" in lines[number][0]
        assert lines[number][1] == 2
    assert lines[4] == [["cats/1.png"], []]


def test_our_own_listing_does_not_leave_out_what_may_not_be_read() -> None:
    imports = (
        "from darkroom.errors import StorageAccessError\n"
        "from darkroom.storage import list_source, open_store\n"
        "from darkroom.storage.local import LocalStore"
    )
    code = (
        "store = open_store(sys.argv[1])\n"
        "print([name for name, _ in store.children()])\n"
        "try:\n"
        "    list(store.list())\n"
        "except StorageAccessError as error:\n"
        "    print(error)\n"
        "(hidden,) = open_store(sys.argv[2]).list()\n"
        "print(hidden.key)\n"
    )
    with shared_folder() as folder:
        root = fill(folder / "root", "attempts/1/a", "b")
        (root / "attempts/1").chmod(0)
        mount = fill(folder / "mount", "lost+found/1", "b")
        (mount / "lost+found").chmod(0)
        lines = as_other_user(imports, code, root, mount).splitlines()
    assert lines[0] == "['attempts/', 'b']"
    assert f"{root}/attempts/1', permission denied" in lines[1]
    assert lines[2] == "b"


def test_a_level_with_a_link_to_nothing_is_shown(tmp_path: Path) -> None:
    (fill(tmp_path, "a") / "gone").symlink_to("nowhere")
    assert list(open_store(tmp_path).children()) == [("a", 4), ("gone", 7)]


def test_a_folder_of_nothing_but_links_is_shown(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dogs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    assert [name for name, _ in open_store(tmp_path).children()] == ["elsewhere/", "in/"]
    assert [name for name, _ in open_store(tmp_path / "in").children()] == ["dogs/"]


def test_a_link_to_a_folder_around_the_input_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "above" / "in"
    root.mkdir(parents=True)
    (tmp_path / "other.png").write_bytes(b"x")
    (root / "1.png").write_bytes(b"x")
    (root / "up").symlink_to("..")
    (root / "top").symlink_to(tmp_path)
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    for place in (root, linked):
        assert [info.key for info in list_source(open_store(str(place))).files] == ["1.png"]

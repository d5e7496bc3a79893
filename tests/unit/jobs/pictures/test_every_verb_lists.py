"""Each verb that lists a folder: links followed, what may not be read an error or a dead letter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.other_user import as_other_user, shared_folder
from tests.helpers.pictures import encoded

PICTURE = encoded(Image.new("L", (8, 8)), "PNG")
TABLE = b"id,name\n1,fox\n"
VERBS = ("prepare", "classify", "evaluate", "generate")

IMPORTS = """
import json
import encodings.utf_8_sig
import numpy
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from darkroom.config import build_config
from darkroom.errors import InputError
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import find_pictures
from darkroom.jobs.measuring.source import find_generated
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.sources import open_source
import darkroom.jobs.prepare.folder_source
from darkroom.jobs.tables.table import read_table
from darkroom.storage.local import LocalStore

def prepare(uri):
    config = {"source": {"kind": "image_folder", "uri": uri}, "output": uri + "-out"}
    found = open_source(build_config(PrepareConfig, config).source).listing()
    return len(found.items), [letter.reason for letter in found.rejects]

def classify(uri):
    found = find_pictures(ClassifyConfig(input=uri, output=uri + "-out"))
    return len(found.rows), [reject.reason for reject in found.rejected]

def evaluate(uri):
    found = find_generated(uri, ("cats", "dogs"), limit=None, seed=0)
    return len(found.rows), [reject.reason for reject in found.rejected]

def generate(uri):
    return len(read_table(uri, {}, name="input").rows), []

def seen(verb, uri):
    try:
        return list(globals()[verb](uri))
    except InputError as error:
        return str(error)
"""


def fill(root: Path, suffix: str, *names: str) -> Path:
    for name in names:
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE if suffix == ".png" else TABLE)
    return root


def folders(root: Path, suffix: str) -> Sequence[Path]:
    """One with links, one with a closed file, one with a closed folder."""
    elsewhere = fill(root / "elsewhere", suffix, "1", "2")
    linked = fill(root / "linked", suffix, "cats/1", ".ipynb_checkpoints/1", "@eaDir/1", "cats/._1")
    (linked / "dogs").symlink_to(elsewhere)
    (linked / "cats/up").symlink_to(linked)
    file = fill(root / "file", suffix, "cats/1", "cats/2", "dogs/1")
    (file / f"cats/2{suffix}").chmod(0)
    folder = fill(root / "folder", suffix, "cats/1", "dogs/1")
    (folder / "dogs").chmod(0)
    return linked, file, folder


@pytest.mark.parametrize("suffix", [".png", ".csv"])
def test_nothing_is_lost_without_a_word(suffix: str) -> None:
    verbs = VERBS[:3] if suffix == ".png" else VERBS[3:]
    code = "for verb in sys.argv[4:]: print(json.dumps([seen(verb, uri) for uri in sys.argv[1:4]]))"
    with shared_folder() as root:
        roots = folders(root, suffix)
        printed = as_other_user(IMPORTS, code, *roots, *verbs)
    for verb, line in zip(verbs, printed.splitlines(), strict=True):
        linked, file, folder = json.loads(line)
        assert linked == [3, []], verb
        if verb == "generate":  # rows that are missing would be missed by nobody
            assert "cats/2.csv', cannot be read (permission denied)" in file
        else:
            assert file == [2, ["unreadable"]], verb
        assert "dogs', cannot be listed (permission denied)" in folder, verb

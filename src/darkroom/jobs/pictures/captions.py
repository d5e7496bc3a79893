"""What people write beside pictures: `captions.json`, or `metadata` as JSON lines, CSV or Parquet.

`captions.json` maps a picture's path to its caption, or lists objects; `metadata.*` has one object
or row per picture, as the Hugging Face hub reads it. A path is below the file's own folder, or
below `images/` there. Names are compared in Unicode NFC (a file made on macOS spells an accent
otherwise than the text that names it) and with slashes, whatever Windows wrote. Text files beside
the pictures are read in `text_files.py`.
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Never

from darkroom.errors import DataError
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.rejects import Reject
from darkroom.jobs.tables.csv_rows import read_csv
from darkroom.jobs.tables.parquet_rows import read_parquet
from darkroom.jobs.tables.row import Found
from darkroom.jobs.text_file import text_of

CAPTIONS_NAME = "captions.json"
METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
IMAGES_FOLDER = "images"

_FILE_KEYS = ("file_name", "image", "file")
_CAPTION_KEYS = ("caption", "text", "prompt")
_LABEL_KEY = "label"
_REMEDY = 'write {"file_name": ..., "caption": ...}, "label" if you like'


@dataclass(frozen=True, slots=True)
class Caption:
    """What is written of one picture."""

    text: str | None
    label: str | None = None


def read_captions(name: str, data: bytes, *, where: str, field: str) -> dict[str, Caption]:
    """Path, as `path_key` writes it, to caption. Errors: DataError naming `where` and the entry."""
    reader = _CaptionReader(name, where, field)
    found: dict[str, Caption] = {}
    for entry, path, caption in reader.entries(data):
        key = path_key(path)
        if key in found:
            reader.fail(f"{entry} names {path!r} again", "keep one caption of it")
        found[key] = caption
    return found


def path_key(path: str) -> str:
    """What two spellings of one path below a folder have in common."""
    return posixpath.normpath(nfc(path).replace("\\", "/"))


def tells_of_files(name: str, data: bytes, *, where: str, field: str) -> bool:
    """Whether a `metadata` file names files: others of that name are none of our business."""
    if not data.strip():
        return False
    if not name.endswith(".jsonl"):
        return not set(_FILE_KEYS).isdisjoint(_table(name, data, where=where, field=field)[0])
    try:
        first = json.loads(text_of(data, where=where, field=field).lstrip().partition("\n")[0])
    except (ValueError, RecursionError):
        return True  # reading it says what is wrong
    return isinstance(first, dict) and any(key in first for key in _FILE_KEYS)


def _table(name: str, data: bytes, *, where: str, field: str) -> tuple[Sequence[str], Found]:
    if name.endswith(".parquet"):
        return read_parquet(data, file=where, field=field)[:2]
    text_of(data, where=where, field=field)  # a byte that is none is an error here, and no bad row
    return read_csv(data, file=where, field=field)


class _CaptionReader:
    def __init__(self, name: str, where: str, field: str) -> None:
        self._name, self._where, self._field = name, where, field
        self._is_metadata = name in METADATA_NAMES
        """The hub's: numbers may be labels, and a label may stand without a caption."""

    def fail(self, problem: str, remedy: str) -> Never:
        raise DataError(self._field, self._where, problem, remedy) from None

    def entries(self, data: bytes) -> Iterator[tuple[str, str, Caption]]:
        """What the entry is called, the path in it, what it says."""
        if self._name.endswith((".csv", ".parquet")):
            objects = self._rows(data)
        elif self._name.endswith(".jsonl"):
            objects = self._lines(text_of(data, where=self._where, field=self._field))
        else:
            values = self._json(text_of(data, where=self._where, field=self._field))
            if isinstance(values, dict):
                yield from self._pairs(values)
                return
            if not isinstance(values, list):
                self.fail(
                    "is neither an object nor a list", 'write {"<picture>": "<caption>", ...}'
                )
            objects = ((f"entry {number}", entry) for number, entry in enumerate(values))
        for which, entry in objects:
            yield which, *self._entry(which, entry)

    def _pairs(self, values: dict[str, Any]) -> Iterator[tuple[str, str, Caption]]:
        for number, (path, caption) in enumerate(values.items()):
            if not isinstance(caption, str):
                self.fail(f"{path!r} has {caption!r} as its caption", "write one text")
            yield f"entry {number}", path, Caption(caption)

    def _entry(self, which: str, entry: Any) -> tuple[str, Caption]:
        if not isinstance(entry, dict):
            self.fail(f"{which} is no object", _REMEDY)
        path = next((entry[key] for key in _FILE_KEYS if key in entry), None)
        text = next((entry[key] for key in _CAPTION_KEYS if entry.get(key) is not None), None)
        label = entry.get(_LABEL_KEY)
        if self._is_metadata and type(label) is int:
            label = str(label)
        speaks = isinstance(text, str) or (self._is_metadata and text is None and label is not None)
        if not isinstance(path, str) or not path or not speaks:
            self.fail(f"{which} lacks a file name or a caption", _REMEDY)
        if label is not None and (not isinstance(label, str) or not label):
            self.fail(f"{which} has the label {label!r}", "write the name of its class")
        return path, Caption(text, None if label is None else nfc(label))

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text, object_pairs_hook=self._unique)
        except (ValueError, RecursionError) as error:
            self.fail(f"is no JSON ({error})", "write it as UTF-8 JSON")

    def _lines(self, text: str) -> Iterator[tuple[str, Any]]:
        # Not splitlines: a JSON text may hold U+2028 and its like.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line, object_pairs_hook=self._unique)
                except (ValueError, RecursionError) as error:
                    self.fail(f"line {number} is no JSON ({error})", "write one object per line")

    def _rows(self, data: bytes) -> Iterator[tuple[str, dict[str, str | None]]]:
        header, found = _table(self._name, data, where=self._where, field=self._field)
        for place, row in found:
            which = place.removeprefix(f"{self._where} ")
            if isinstance(row, Reject):
                self.fail(f"{which} has {row.detail}", "quote fields that hold a comma")
            yield which, dict(zip(header, row, strict=True))

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice = next(name for name, count in _counts(pairs) if count > 1)
            self.fail(f"names {twice!r} twice", "keep one caption of it")
        return values


def _counts(pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, int]]:
    return Counter(name for name, _ in pairs).items()

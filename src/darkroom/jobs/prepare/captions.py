"""Split folders of captioned pictures, on S3 or on disk, as a source.

    <uri>/{train,validation,test}/images/**/<picture>
    <uri>/{train,validation,test}/captions.json

`captions.json` maps a picture's path below `images/` to its caption, or lists objects:
`[{"file_name": ..., "caption": ..., "label": <class name, optional>}]`. A picture without a
caption and a caption without a picture are dead letters. The folders decide the split; an
item's id is its path below the root, in Unicode NFC.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Never

from darkroom.errors import DataError
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.files import (
    bad_name,
    fingerprint,
    no_pictures,
    read_files,
    skipped_as,
)
from darkroom.jobs.pictures.listing import Item, Listing
from darkroom.jobs.pictures.rejects import DeadLetter
from darkroom.jobs.prepare.config import CaptionsSource
from darkroom.storage import ObjectInfo, Parent, open_store, parse_uri

CAPTIONS_FILE = "captions.json"
IMAGES_FOLDER = "images"
_FOLDERS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_FILE_KEYS = ("file_name", "image")
_CAPTION_KEYS = ("caption", "text")


@dataclass(frozen=True, slots=True)
class Caption:
    """What `captions.json` says of one picture."""

    text: str
    label: str | None = None


class Captions:
    """Captioned pictures, split by folders."""

    def __init__(self, config: CaptionsSource) -> None:
        self._root = parse_uri(config.uri, field="source.uri")
        self._store = open_store(self._root)

    def listing(self) -> Listing:
        files = sorted(self._store.list(), key=lambda info: info.key)
        folders = [name for name in _FOLDERS if any(i.key.startswith(f"{name}/") for i in files)]
        pictures = [i for i in files if _is_picture(i.key)]
        if not pictures:
            others = Counter(skipped_as(i.key) or "a picture outside images/" for i in files)
            remedy = "name a folder with train/images/ and train/captions.json"
            raise no_pictures(self._root, others, remedy)
        captions = {name: self._captions(f"{name}/{CAPTIONS_FILE}") for name in folders}
        used = [i for i in files if _is_picture(i.key) or i.key.endswith(f"/{CAPTIONS_FILE}")]
        classes = sorted(
            {c.label for found in captions.values() for c in found.values() if c.label}
        )
        items, letters = self._match(pictures, captions, classes)
        skipped = Counter(name for i in files if i not in used and (name := skipped_as(i.key)))
        return Listing(
            items=items,
            classes=classes,
            parent=Parent("source", str(self._root), fingerprint(used), "captions"),
            dead_letters=letters,
            num_skipped=dict(sorted(skipped.items())),
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        return read_files(self._root, self._store, items, concurrency=concurrency)

    def _match(
        self,
        pictures: Sequence[ObjectInfo],
        captions: dict[str, dict[str, Caption]],
        classes: Sequence[str],
    ) -> tuple[list[Item], list[DeadLetter]]:
        labels = {name: label for label, name in enumerate(classes)}
        items, letters = [], []
        left = {(folder, name) for folder, found in captions.items() for name in found}
        for info in pictures:
            folder, name = _place(info.key)
            left.discard((folder, name))
            caption = captions[folder].get(name)
            if letter := bad_name(self._root, info.key) or _unusable(info.key, caption):
                letters.append(letter)
            elif caption is not None:
                label = None if caption.label is None else labels[caption.label]
                items.append(
                    Item(
                        id=unicodedata.normalize("NFC", info.key),
                        path=info.key,
                        label=label,
                        caption=caption.text,
                        split=_FOLDERS[folder],
                        size=info.size,
                        etag=info.etag,
                    )
                )
        letters += [
            DeadLetter(_shown(f"{folder}/{IMAGES_FOLDER}/{name}"), "missing", "has only a caption")
            for folder, name in sorted(left)
        ]
        return items, letters

    def _captions(self, key: str) -> dict[str, Caption]:
        """Path below `images/` -> caption. Errors: DataError naming the entry."""
        where = str(self._root / key)
        if self._store.head(key) is None:
            _fail(where, "is missing", 'write {"<picture>": "<caption>", ...} there')
        try:
            values = json.loads(self._store.get(key), object_pairs_hook=_unique(where))
        except (ValueError, RecursionError) as error:
            _fail(where, f"is no JSON ({error})", "write it as UTF-8 JSON")
        found: dict[str, Caption] = {}
        for number, (name, caption) in enumerate(_entries(values, where)):
            if name in found:
                _fail(where, f"entry {number} names {name!r} again", "keep one caption of it")
            found[name] = caption
        return found


def _entries(values: Any, where: str) -> Iterable[tuple[str, Caption]]:
    if isinstance(values, dict):
        for name, text in values.items():
            if not isinstance(text, str):
                _fail(where, f"{name!r} has {text!r} as its caption", "write one text")
            yield name, Caption(text)
    elif isinstance(values, list):
        for number, entry in enumerate(values):
            yield _entry(entry, f"entry {number}", where)
    else:
        _fail(where, "is neither an object nor a list", 'write {"<picture>": "<caption>", ...}')


def _entry(entry: Any, which: str, where: str) -> tuple[str, Caption]:
    remedy = 'write {"file_name": ..., "caption": ...}, "label" if you like'
    if not isinstance(entry, dict):
        _fail(where, f"{which} is no object", remedy)
    name = next((entry[key] for key in _FILE_KEYS if key in entry), None)
    text = next((entry[key] for key in _CAPTION_KEYS if key in entry), None)
    label = entry.get("label")
    if not isinstance(name, str) or not isinstance(text, str):
        _fail(where, f"{which} lacks a file name or a caption", remedy)
    if label is not None and (not isinstance(label, str) or not label):
        _fail(where, f"{which} has the label {label!r}", "write the name of its class")
    return name.removeprefix(f"{IMAGES_FOLDER}/"), Caption(text, label)


def _unusable(path: str, caption: Caption | None) -> DeadLetter | None:
    if caption is None:
        return DeadLetter(path, "no_caption", f"is not in {CAPTIONS_FILE}")
    try:
        caption.text.encode()
    except UnicodeEncodeError as error:
        return DeadLetter(path, "no_caption", f"its caption is no valid text ({error.reason})")
    return None


def _unique(where: str) -> Any:
    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
            _fail(where, f"names {twice!r} twice", "keep one caption of it")
        return values

    return hook


def _is_picture(key: str) -> bool:
    folder, _, rest = key.partition("/")
    below = rest.startswith(f"{IMAGES_FOLDER}/")
    return folder in _FOLDERS and below and skipped_as(key) is None


def _place(key: str) -> tuple[str, str]:
    """Split folder, and path below its `images/`."""
    folder, _, rest = key.partition("/")
    return folder, rest.removeprefix(f"{IMAGES_FOLDER}/")


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _fail(where: str, problem: str, remedy: str) -> Never:
    raise DataError("source.uri", where, problem, remedy) from None

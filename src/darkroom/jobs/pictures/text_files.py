"""Captions as trainers of LoRAs write them: a text file beside each picture, named as it is.

    cats/1.png, cats/1.txt

The whole file is the caption, without the white space around it; an empty one is an empty caption.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.errors import DataError
from darkroom.jobs.pictures.captions import Caption, path_key
from darkroom.jobs.pictures.files import PictureFiles
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.tables.encoded import decoded, plain_bytes
from darkroom.storage import ObjectInfo, ObjectStore
from darkroom.storage.store import for_each

TEXT_SUFFIX = ".txt"
MAX_BYTES = 64 * 1024
"""Of one caption: longer files are something else."""


@dataclass
class TextCaptions:
    """The captions in the text files of one folder."""

    files: list[ObjectInfo] = field(default_factory=list)
    captions: dict[str, Caption] = field(default_factory=dict)
    """By the picture's path below the folder, as `path_key` writes it."""


def text_captions(
    store: ObjectStore, files: PictureFiles, *, field: str
) -> Mapping[str, TextCaptions]:
    """The captions that stand beside pictures, by folder (with its slash; "" for the root).

    Errors: DataError naming `field` and the file for one that is too long or no text.
    """
    beside = {_stem(info.key): info for info in text_files(files)}
    paired = [(picture.key, beside[_stem(picture.key)]) for picture in files.pictures
              if _stem(picture.key) in beside]  # fmt: skip
    wanted = list({info.key: info for _, info in paired}.values())
    texts = dict(
        zip(
            (info.key for info in wanted),
            for_each(lambda info: _text(store, info, field), wanted),
            strict=True,
        )
    )
    found: defaultdict[str, TextCaptions] = defaultdict(TextCaptions)
    for key, info in paired:
        above, slash, name = key.rpartition("/")
        folder = found[above + slash]
        folder.captions[path_key(name)] = Caption(texts[info.key])
        if info not in folder.files:
            folder.files.append(info)
    return found


def text_files(files: PictureFiles) -> Sequence[ObjectInfo]:
    """Every text file below the root, whatever it holds."""
    return [info for info in files.others if info.key.lower().endswith(TEXT_SUFFIX)]


def _stem(key: str) -> str:
    return nfc(posixpath.splitext(key)[0])


def _text(store: ObjectStore, info: ObjectInfo, field: str) -> str:
    where = f"{store.root}/{info.key}"
    if info.size > MAX_BYTES:
        raise DataError(
            field, where, f"has {info.size} bytes, too many for a caption (at most {MAX_BYTES})",
            "shorten it, or give it another name than the picture's",
        )  # fmt: skip
    data = plain_bytes(store.get(info.key), where=where, field=field)
    return decoded(data, where=where, field=field).strip()

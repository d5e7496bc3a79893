"""A folder of pictures as every verb sees it: items with class, caption and split.

The folders around the pictures decide (layout.py), unless people wrote captions beside them
(captions.py): then those say caption and class, and the folders only the split. An item's id is
its path in Unicode NFC: names that differ in nothing else are a duplicate id, which the verbs
refuse.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from darkroom.errors import DataError
from darkroom.jobs.pictures.captions import (
    CAPTIONS_NAME,
    IMAGES_FOLDER,
    METADATA_NAMES,
    Caption,
    path_key,
    read_captions,
    tells_of_files,
)
from darkroom.jobs.pictures.files import PictureFiles, fingerprint, list_pictures, rejected
from darkroom.jobs.pictures.layout import Place, nfc, places, split_of
from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.jobs.pictures.text_files import text_captions, text_files
from darkroom.jobs.tables.encoded import plain_bytes
from darkroom.storage import ObjectInfo, ObjectStore, Parent, Uri, open_store

logger = logging.getLogger(__name__)

Classes = Literal["needed", "wanted", "optional"]
"""Needed: a folder without classes is refused. Wanted: where some pictures have one, those without
are dead rejects. Optional: every picture is taken."""


@dataclass(frozen=True)
class _Table:
    """A file of captions, or text files: what speaks for every picture below a folder."""

    files: Sequence[ObjectInfo]
    folder: str
    """Key of the folder, with its slash; "" for the root."""
    captions: Mapping[str, Caption]

    @property
    def name(self) -> str:
        """Key of the file, or of one of them."""
        return self.files[0].key

    def find(self, key: str) -> str | None:
        """The path by which the table names the picture `key`."""
        path = path_key(key[len(self.folder) :])
        below = path.removeprefix(f"{IMAGES_FOLDER}/")
        return next((name for name in (path, below) if name in self.captions), None)

    def shown(self, name: str) -> str:
        """Where the picture that the table names should be."""
        is_whole = not self.name.endswith(CAPTIONS_NAME) or name.startswith(IMAGES_FOLDER)
        path = f"{self.folder}{'' if is_whole else IMAGES_FOLDER + '/'}{name}"
        return path.encode("utf-8", "backslashreplace").decode()


def list_folder(
    root: Uri,
    *,
    field: str,
    classes: Classes,
    captioned: bool = False,
    remedy: str = "name a folder of JPEG, PNG or WebP files",
) -> PictureListing:
    """List a folder of pictures; with `captioned`, captions must be there.

    Errors: DataError naming `field` when there is nothing to use or two ways to read it.
    """
    store = open_store(root)
    files = list_pictures(store, field=field, remedy=remedy)
    tables = _tables(store, files, field=field, captioned=captioned)
    if tables or captioned:
        listing = _by_captions(root, files, tables, field=field)
    else:
        listing = _by_folders(root, files, field=field, classes=classes)
    if not listing.items:
        first = listing.rejects[0]
        raise DataError(
            field, str(root), f"holds no picture that can be used ({first.id}: {first.detail})",
            "correct its names, or its captions",
        )  # fmt: skip
    return listing


# By folders.


def _by_folders(root: Uri, files: PictureFiles, *, field: str, classes: Classes) -> PictureListing:
    keys = [info.key for info in files.pictures]
    found = places(keys, where=str(root), field=field, strict=classes != "optional")
    names = sorted({place.class_name for place in found} - {None}, key=str)
    if classes == "needed" and not names:
        raise _no_classes(root, found, field)
    if names == [IMAGES_FOLDER] and any(place.split for place in found):
        raise _no_captions(root, IMAGES_FOLDER, field)
    strays_are_dead = bool(names) and classes != "optional"
    labels = {name: label for label, name in enumerate(names)}
    items, rejects = [], list(files.rejects)
    for info, place in zip(files.pictures, found, strict=True):
        if place.class_name is None and strays_are_dead:
            detail = "lies beside the class folders, not in one"
            rejects.append(rejected(info.key, "no_class", detail))
        else:
            label = None if place.class_name is None else labels[place.class_name]
            items.append(_item(info, place, label))
    _tell_of_empty(root, files)
    return PictureListing(
        items=items,
        classes=[str(name) for name in names],
        parent=Parent("source", str(root), fingerprint(files.pictures), "image_folder"),
        rejects=rejects,
        num_skipped=files.num_skipped(),
    )


def _item(
    info: ObjectInfo, place: Place, label: int | None = None, caption: str | None = None
) -> Item:
    return Item(
        id=nfc(info.key),
        path=info.key,
        label=label,
        caption=caption,
        split=place.split,
        size=info.size,
        etag=info.etag,
    )


def _tell_of_empty(root: Uri, files: PictureFiles) -> None:
    """A folder without pictures is no class, which whoever made it may not expect."""
    tops = {info.key.partition("/")[0] for info in files.pictures}
    empty = {info.key.partition("/")[0] for info in files.others if "/" in info.key} - tops
    empty |= {reject.id.partition("/")[0] for reject in files.rejects} - tops
    if empty and any("/" in info.key for info in files.pictures):
        shown = ", ".join(sorted(empty)[:5])
        logger.warning("%s: %d without a usable picture: %s", root, len(empty), shown)


def _no_classes(root: Uri, found: Sequence[Place], field: str) -> DataError:
    if any(place.split for place in found):
        return DataError(
            field, str(root), "holds split folders with pictures, but no class subfolders in them",
            f"put one subfolder per class into each, or a {METADATA_NAMES[0]} with file_name and "
            "text or label beside the pictures",
        )  # fmt: skip
    return DataError(
        field, str(root), "holds pictures but no class subfolders",
        "move them into one subfolder per class (one subfolder is enough), name the folder above, "
        f"or write a {METADATA_NAMES[0]} with file_name and text or label beside them",
    )  # fmt: skip


# By captions.


def _tables(
    store: ObjectStore, files: PictureFiles, *, field: str, captioned: bool
) -> dict[str, _Table]:
    """What holds captions, by its folder."""
    tables: dict[str, _Table] = {}
    for info in files.others:
        above, slash, name = info.key.rpartition("/")
        folder = above + slash
        if not _may_tell(name, folder, files, captioned=captioned):
            continue
        where = f"{store.root}/{info.key}"
        data = plain_bytes(store.get(info.key), where=where, field=field)
        if name in METADATA_NAMES and not tells_of_files(name, data, where=where, field=field):
            continue
        if folder in tables:
            raise DataError(
                field, where, f"stands beside {tables[folder].name}", "keep one of the two"
            )
        captions = read_captions(name, data, where=where, field=field)
        tables[folder] = _Table([info], folder, captions)
    return {**tables, **_text_tables(store, files, tables, field=field)} if captioned else tables


def _text_tables(
    store: ObjectStore, files: PictureFiles, tables: Mapping[str, _Table], *, field: str
) -> dict[str, _Table]:
    """The text files beside pictures by their folder, where nothing else speaks for these."""
    found = text_captions(store, files, field=field)
    for folder, texts in found.items():
        other = _table_of(folder + next(iter(texts.captions)), tables)
        if other is not None:
            raise DataError(
                field, f"{store.root}/{texts.files[0].key}",
                f"is a caption, and {other.name} has captions of the same folder",
                "keep one of the two",
            )  # fmt: skip
    stray = text_files(files)
    if stray and not found and not tables:
        raise DataError(
            field, str(store.root),
            f"has {len(stray)} text files, and none is named as a picture (first: {stray[0].key})",
            f"name each as its picture (1.png, 1.txt), or write a {CAPTIONS_NAME}",
        )  # fmt: skip
    return {folder: _Table(texts.files, folder, texts.captions) for folder, texts in found.items()}


def _may_tell(name: str, folder: str, files: PictureFiles, *, captioned: bool) -> bool:
    if name in METADATA_NAMES:
        return True
    images = f"{folder}{IMAGES_FOLDER}/"
    return name == CAPTIONS_NAME and (
        captioned or any(info.key.startswith(images) for info in files.pictures)
    )


def _by_captions(
    root: Uri, files: PictureFiles, tables: Mapping[str, _Table], *, field: str
) -> PictureListing:
    names = {c.label for table in tables.values() for c in table.captions.values() if c.label}
    classes = sorted(names)
    labels = {name: label for label, name in enumerate(classes)}
    used: defaultdict[str, set[str]] = defaultdict(set)
    items, rejects = [], list(files.rejects)
    found = places([info.key for info in files.pictures], where=str(root), field=field)
    for info, place in zip(files.pictures, found, strict=True):
        table = _table_of(info.key, tables)
        if table is None and (missing := _lacks_captions(info.key, tables)) is not None:
            raise _no_captions(root, missing, field)
        name = None if table is None else table.find(info.key)
        if table is None or name is None:
            rejects.append(rejected(info.key, "no_caption", "no caption names it"))
            continue
        used[table.folder].add(name)
        caption = table.captions[name]
        if (problem := _invalid(caption)) is not None:
            rejects.append(rejected(info.key, "no_caption", problem))
            continue
        label = None if caption.label is None else labels[caption.label]
        items.append(_item(info, place, label, caption.text))
    gone = {reject.id for reject in files.rejects}
    rejects += [
        rejected(table.shown(name), "missing", "has only a caption")
        for table in tables.values()
        for name in sorted(table.captions.keys() - used[table.folder])
        if table.shown(name) not in gone
    ]
    spoken = [info for table in tables.values() for info in table.files]
    return PictureListing(
        items=items,
        classes=classes,
        parent=Parent("source", str(root), fingerprint([*files.pictures, *spoken]), "captions"),
        rejects=rejects,
        num_skipped=files.num_skipped(spoken),
    )


def _table_of(key: str, tables: Mapping[str, _Table]) -> _Table | None:
    """The nearest one above the picture."""
    folder = key
    while folder:
        folder = folder.rstrip("/").rpartition("/")[0]
        folder = f"{folder}/" if folder else ""
        if folder in tables:
            return tables[folder]
    return None


def _lacks_captions(key: str, tables: Mapping[str, _Table]) -> str | None:
    """The folder of a whole split, or the whole source, for which no captions are written."""
    top, slash, _ = key.partition("/")
    if slash and split_of(nfc(top)):
        return None if any(folder.startswith(f"{top}/") for folder in tables) else top
    return None if tables else ""


def _no_captions(root: Uri, folder: str, field: str) -> DataError:
    where = f"{root}/{folder}" if folder and folder != IMAGES_FOLDER else str(root)
    return DataError(
        field, f"{where}/{CAPTIONS_NAME}", "is missing",
        'write {"<picture>": "<caption>", ...} there, or a '
        f"{METADATA_NAMES[0]} with file_name and text or label, or a text file beside each picture",
    )  # fmt: skip


def _invalid(caption: Caption) -> str | None:
    try:
        (caption.text or "").encode()
    except UnicodeEncodeError as error:
        return f"its caption is no valid text ({error.reason})"
    return None

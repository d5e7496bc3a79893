"""Which files of a URI make a table: one file, a folder of parts, or what Darkroom published.

A folder is read as Spark, Dask, Ray Data and Hive write one, whatever it is called: names say which
files belong (`part-0.csv.gz`, `0.part`, `a=1/x.parquet`), what begins with `_` does not, and
`column=value` folders are columns. What a file is is decided by its bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow.parquet as pq

from darkroom.config import json_digest
from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.tables.encoded import MAX_BYTES
from darkroom.storage import (
    Artifact,
    ObjectInfo,
    Parent,
    SourceFiles,
    Uri,
    list_source,
    open_artifact,
    open_store,
    parse_uri,
)

_PART = re.compile(
    r"(\.(csv|tsv|tab|parquet|parq|pq)|^\d+\.part)(\.(gz|gzip|bz2|zst|zstd|lz4|xz))?$",
    re.IGNORECASE,
)
_LOGS = {"_delta_log": "a Delta Lake", ".hoodie": "a Hudi"}
"""Folders of tables whose files hold deleted rows too: only their own reader knows which count."""
_EMPTY_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table."""

    name: str
    """Below the table's URI; for messages and by its extension."""
    data: bytes = b""
    parquet: pq.ParquetFile | None = None
    """Read by ranges: a published table may hold pictures beside its texts."""
    partition: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that the file's folders name, as `a=1/`."""


def open_table(uri: str, name: str) -> tuple[Sequence[TableFile], Parent]:
    """The files to read, in the order of their names, and the digest of all of them.

    name: the config field, for messages. Errors: DataError when there is no table.
    """
    root = parse_uri(uri, field=name)
    # A name tells nothing: `x.csv` is a folder where Spark wrote it, and a file has any name.
    if root.key and (info := open_store(root.parent).head(root.name)) is not None:
        _check_size(info.size, root, name)
        data = open_store(root.parent).get(root.name)
        parent = Parent("source", str(root), hashlib.sha256(data).hexdigest(), "table")
        return [TableFile(root.name, data)], parent
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        return _of_folder(root, name)
    return _published(artifact, name), artifact.as_parent("data")


def _published(artifact: Artifact, name: str) -> list[TableFile]:
    names = [e.name for e in artifact.entries("data/") if _PART.search(e.name)]
    if not names:
        raise DataError(
            name, str(artifact.uri), f"is a {artifact.manifest.kind} without a table below data/",
            "give the output of prepare, classify or generate, or a CSV or Parquet file",
        )  # fmt: skip
    return [
        TableFile(n, parquet=artifact.parquet_file(n))
        if n.endswith(".parquet")
        else TableFile(n, artifact.read_bytes(n))
        for n in names
    ]


def _of_folder(root: Uri, name: str) -> tuple[list[TableFile], Parent]:
    store = open_store(root)
    listed = list_source(store)
    infos = sorted((info for info in listed.files if _belongs(info.key)), key=_natural)
    _check_listed(root, listed, infos, name)
    _check_size(sum(info.size for info in infos), root, name)
    files = [
        TableFile(info.key, store.get(info.key), partition=_partition(info.key)) for info in infos
    ]
    digest = json_digest([[f.name, hashlib.sha256(f.data).hexdigest()] for f in files])
    return files, Parent("source", str(root), digest, "table")


def _belongs(key: str) -> bool:
    """By its name, without what Hadoop and all after it hide: `_x`, which is no `_column=value`."""
    parts = PurePosixPath(key).parts
    hidden = any(part.startswith("_") and "=" not in part for part in parts)
    return not hidden and _PART.search(parts[-1]) is not None


def _natural(info: ObjectInfo) -> tuple[object, str]:
    """`part.10` after `part.2`."""
    return [(text, int(n or 0)) for text, n in re.findall(r"([^0-9]*)([0-9]*)", info.key)], info.key


def _partition(key: str) -> dict[str, str | None]:
    pairs = (part.partition("=") for part in PurePosixPath(key).parts[:-1] if "=" in part)
    return {
        unquote(column): None if value == _EMPTY_PARTITION else unquote(value)
        for column, _, value in pairs
    }


def _check_listed(root: Uri, listed: SourceFiles, infos: Sequence[ObjectInfo], name: str) -> None:
    if not (listed.files or listed.unreadable or listed.hidden):
        raise DataError(
            name, str(root), "does not exist, or holds no file",
            "check its spelling with darkroom storage ls",
        )  # fmt: skip
    lost = next((lost for lost in listed.unreadable if _belongs(lost.key)), None)
    if lost is not None:
        raise DataError(
            name, str(root / lost.key), f"cannot be read ({lost.problem})", "mend it or remove it"
        )
    folders = {hidden.rpartition("/")[2] for hidden in listed.hidden}
    formats = [kind for folder, kind in _LOGS.items() if folder in folders]
    if any(info.key.endswith(".metadata.json") for info in listed.files):
        formats.append("an Iceberg")
    if formats:
        raise DataError(
            name, str(root), f"is {formats[0]} table, whose files hold rows that it has deleted",
            "write what it holds now as Parquet or CSV",
        )  # fmt: skip
    if not infos:
        kinds = Counter(PurePosixPath(i.key).suffix.lower() or "no extension" for i in listed.files)
        others = (
            ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN)) or "hidden"
        )
        raise DataError(
            name, str(root), f"holds no .csv, .tsv or .parquet file, only {others} files",
            "name a table or a folder of its parts; darkroom storage ls shows what is there",
        )  # fmt: skip


def _check_size(size: int, root: Uri, name: str) -> None:
    if size > MAX_BYTES:
        raise DataError(
            name, str(root), f"holds more than {MAX_BYTES // 1024**3} GiB of tables",
            "split it: prompts are read on the driver",
        )  # fmt: skip

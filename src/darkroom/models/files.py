"""What is wrong with the files of a model's folder, told before a library says something else.

A folder is often half of what it should be: a clone without Git LFS, a download that broke off.
Files that every loader reads must be whole; of weights, which often lie there in several formats
and variants, one set of each folder must be. Which of them is loaded is the loader's business:
where it fails, `broken_file` says of all of them which one is broken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from darkroom.contents import HEAD_BYTES, Foreign, foreign

Read = Callable[[str, int, int], bytes]
"""Bytes of a file: its name, where they begin, how many."""
Fault = tuple[str, Foreign]
"""A file, and what it is."""

WEIGHTS = (".safetensors", ".gguf", ".bin")
"""Newest format first."""
MAX_SAFETENSORS_HEADER = 100 * 1024**2

_CONFIGS = frozenset(
    {"config.json", "model_index.json", "scheduler_config.json", "preprocessor_config.json"}
    | {"generation_config.json", "tokenizer_config.json", "tokenizer.json", "vocab.json"}
    | {"special_tokens_map.json"}
)
_OTHERS = (".index.json", ".txt", ".model", ".jinja", ".pt", ".pth", ".ckpt", ".msgpack")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_COMPILED, _PARALLEL = "_orig_mod.", "module."
_MAX_JSON_BYTES = 16 * 1024**2
_AGAIN = "download the model again"


def missing_file(files: Iterable[tuple[str, int]], read: Read) -> Fault | None:
    """The first file, of names with sizes, without which no loader can do."""
    files = sorted(files)
    for name, size in files:
        if PurePosixPath(name).name in _CONFIGS and (fault := _fault(name, size, read)):
            return name, fault
    folders: dict[str, dict[str, list[Fault]]] = {}
    for name, size in sorted(files, key=lambda file: _format(file[0])):
        if name.endswith(WEIGHTS):
            path = PurePosixPath(name)
            sets = folders.setdefault(str(path.parent), {})
            fault = _fault(name, size, read)
            sets.setdefault(_SHARD.sub("", path.name), []).extend([(name, fault)] if fault else [])
    for sets in folders.values():
        if all(sets.values()):
            return next(iter(sets.values()))[0]
    return None


def broken_file(folder: str | Path) -> Fault | None:
    """The first file of a folder on disk that is not what its name promises."""
    root = Path(folder)

    def read(name: str, start: int, length: int) -> bytes:
        with (root / name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    return next(_broken(root, read), None)


def weight_names(folder: Path) -> set[str]:
    """Names of the tensors in the safetensors files of a folder on disk that can be read."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length <= MAX_SAFETENSORS_HEADER:
                with suppress(ValueError):  # broken, and of a variant that is not loaded
                    names |= json.loads(file.read(length)).keys()
    return names


def _broken(root: Path, read: Read) -> Iterator[Fault]:
    for path in sorted(root.rglob("*")):
        known = path.name in _CONFIGS or path.name.endswith((*WEIGHTS, *_OTHERS))
        if known and path.is_file():
            name = path.relative_to(root).as_posix()
            if fault := _fault(name, path.stat().st_size, read):
                yield name, fault


def _format(name: str) -> int:
    return next((number for number, end in enumerate(WEIGHTS) if name.endswith(end)), len(WEIGHTS))


def _fault(name: str, size: int, read: Read) -> Foreign | None:
    head = read(name, 0, HEAD_BYTES) if size else b""
    if found := foreign(head):
        return found
    if name.endswith(".safetensors"):
        return _of_safetensors(name, size, read, head)
    if name.endswith(".gguf") and not head.startswith(b"GGUF"):
        return Foreign("is no GGUF file", _AGAIN)
    if name.endswith(".json") and size <= _MAX_JSON_BYTES:
        return _of_json(read(name, 0, size))
    return None


def _of_json(data: bytes) -> Foreign | None:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Foreign(f"is no JSON ({error})", _AGAIN)
    return None if isinstance(values, dict) else Foreign("holds no JSON object", _AGAIN)


def _of_safetensors(name: str, size: int, read: Read, head: bytes) -> Foreign | None:
    """By the header, which says how long the file is."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or length > MAX_SAFETENSORS_HEADER:
        return Foreign("is no safetensors file", _AGAIN)
    try:
        header = json.loads(read(name, 8, min(length, size - 8)))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        wanted = 8 + length + int(max(ends, default=0))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        cut = size < 8 + length
        return Foreign(f"is safetensors that is {'cut off' if cut else 'damaged'}", _AGAIN)
    if wanted != size:
        what = "cut off" if size < wanted else "too long"
        return Foreign(f"is {what}: it has {size:,} of {wanted:,} bytes", _AGAIN)
    return _of_names([name for name in header if name != "__metadata__"])


def _of_names(names: Sequence[str]) -> Foreign | None:
    """Under names that they do not know, libraries leave weights out and draw random ones."""
    wrapper = "torch.compile" if any(_COMPILED in name for name in names) else ""
    if names and all(name.startswith(_PARALLEL) for name in names):
        wrapper = "DataParallel"
    if not wrapper:
        return None
    return Foreign(
        f"has the names that {wrapper} gives to weights ({names[0]})",
        "save the model itself, not what wraps it",
    )

"""Which files of a model's folder its loader reads, and what is wrong with them.

A folder often holds the same weights several times (older formats, other variants, a pipeline's
parts as one file) and is often half of what it should be: a clone without Git LFS, a download that
broke off. Libraries then say anything but the file's name, or fall back to pickles, which can run
code: those are left out everywhere.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from darkroom.contents import HEAD_BYTES, Foreign, foreign

Read = Callable[[str, int, int], bytes]
"""Bytes of a file: its name, where they begin, how many."""
Fault = tuple[str, Foreign]
"""A file, and what it is."""
Sized = tuple[str, int]
"""A file's name and its size in bytes."""

WEIGHTS = (".safetensors", ".gguf")
"""Newest format first."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MAX_SAFETENSORS_HEADER = 100 * 1024**2

_OTHER_FRAMEWORKS = (".msgpack", ".h5", ".onnx", ".onnx_data", ".ot", ".pb", ".tflite")
_CONFIGS = frozenset(
    {"config.json", "model_index.json", "scheduler_config.json", "preprocessor_config.json"}
    | {"generation_config.json", "tokenizer_config.json", "tokenizer.json", "vocab.json"}
    | {"special_tokens_map.json"}
)
_TEXTS = (".index.json", ".txt", ".model", ".jinja")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-]")
_COMPILED, _PARALLEL = "_orig_mod.", "module."
_MAX_JSON_BYTES = 16 * 1024**2
_AGAIN = "download the model again"


def loaded_files(
    files: Iterable[Sized], *, variant: str | None = None, gguf_file: str | None = None
) -> list[Sized]:
    """Those of a folder's files that its loader may read, in order of their names.

    In each folder these are the weights of the newest format, of `variant` where it lies there
    and else of none; of GGUF only `gguf_file`, if one is asked for.
    """
    files = sorted(files)
    is_pipeline = any(name == "model_index.json" for name, _ in files)
    kept: list[Sized] = []
    weights: dict[str, list[Sized]] = {}
    for name, size in files:
        if name.endswith(WEIGHTS):
            weights.setdefault(str(PurePosixPath(name).parent), []).append((name, size))
        elif not name.endswith((*PICKLES, *_OTHER_FRAMEWORKS)):
            kept.append((name, size))
    for folder, found in weights.items():
        if folder == "." and is_pipeline:
            continue  # its parts as one file
        if gguf_file is not None:
            kept += [(name, size) for name, size in found if name == gguf_file]
        else:
            kept += _of_variant(_newest(found), variant)
    return sorted(kept)


def broken_file(files: Iterable[Sized], read: Read, *, texts: bool = False) -> Fault | None:
    """The first file that is not what its name promises, configs first.

    texts: look also at those that some loaders do without.
    """
    ends = (*WEIGHTS, *_TEXTS) if texts else WEIGHTS
    files = sorted(files, key=lambda file: (PurePosixPath(file[0]).name not in _CONFIGS, file[0]))
    for name, size in files:
        known = PurePosixPath(name).name in _CONFIGS or name.endswith(ends)
        if known and (fault := _fault(name, size, read)):
            return name, fault
    return None


def weight_names(folder: Path) -> set[str]:
    """Names of the tensors in the safetensors files of a folder on disk that can be read."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with suppress(ValueError):  # broken, and of a variant that is not loaded
            names |= _header(path).keys()
    return names


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the tensors in a safetensors file that is not broken, by name; the header tells."""
    return _shapes(_header(path))


def shapes_read(name: str, read: Read) -> dict[str, tuple[int, ...]]:
    """As `tensor_shapes`, of a file wherever it lies; nothing but its header is read."""
    return _shapes(_read_header(name, read))


def _shapes(header: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:

        def read(_name: str, start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return _read_header(path.name, read)


def _read_header(name: str, read: Read) -> dict[str, Any]:
    """Errors: ValueError for what is no safetensors."""
    head = read(name, 0, 9)
    if not is_safetensors(head):
        raise ValueError(f"{name} is no safetensors file")
    header: dict[str, Any] = json.loads(read(name, 8, _header_bytes(head)))
    return header


def is_safetensors(head: bytes) -> bool:
    """By the first bytes of a file: the length of a JSON header, and its first character."""
    return head[8:9] == b"{" and 2 <= _header_bytes(head) <= MAX_SAFETENSORS_HEADER


def _header_bytes(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _newest(files: Sequence[Sized]) -> list[Sized]:
    newest = next(end for end in WEIGHTS if any(name.endswith(end) for name, _ in files))
    return [(name, size) for name, size in files if name.endswith(newest)]


def _of_variant(files: Sequence[Sized], variant: str | None) -> list[Sized]:
    marks = (f".{variant}.", f".{variant}-")
    asked = [file for file in files if any(mark in file[0] for mark in marks)]
    plain = [file for file in files if not _VARIANT.search(file[0])]
    return asked or plain or list(files)


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
        values = json.loads(data.decode())
    except UnicodeDecodeError as error:
        return Foreign(f"is no text of UTF-8 (byte {error.start})", _AGAIN)
    except json.JSONDecodeError as error:
        if data.startswith(codecs.BOM_UTF8):  # some of its readers pass over it, and others fail
            return Foreign("begins with a byte-order mark", "save it as UTF-8 without one")
        return Foreign(f"is no JSON (line {error.lineno}, column {error.colno})", _AGAIN)
    except RecursionError:
        return Foreign("is no JSON (it is nested too deeply)", _AGAIN)
    return None if isinstance(values, dict) else Foreign("holds no JSON object", _AGAIN)


def _of_safetensors(name: str, size: int, read: Read, head: bytes) -> Foreign | None:
    """By the header, which says how long the file is."""
    if not is_safetensors(head):
        return Foreign("is no safetensors file", _AGAIN)
    length = _header_bytes(head)
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

"""Bytes of a text file from outside as text: compression and encoding by the bytes themselves.

Names lie about both. Compression is known by its first bytes, UTF-16 and UTF-32 by their byte
order mark; everything else is UTF-8, and what is not is left to be named where it stands: a byte
that no UTF-8 has becomes a lone surrogate.
"""

from __future__ import annotations

import codecs
import io
import lzma
from typing import BinaryIO, cast

import pyarrow as pa

from darkroom.contents import HEAD_BYTES, foreign
from darkroom.errors import DataError

MAX_BYTES = 2 * 1024**3
"""Of one file, unpacked: texts are read on the driver."""

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
)
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK_BYTES = 1 << 20


def plain_bytes(data: bytes, *, field: str, where: str) -> bytes:
    """The bytes, unpacked if they are packed, as often as they are.

    Errors: DataError for what is no file of its own (an LFS pointer, a web page), a packed file
    that is cut off or damaged, or one that unpacks to more than MAX_BYTES.
    """
    while (compression := _compression(data)) is not None:
        data = _unpacked(data, compression, field, where)
    if data and (found := foreign(data[:HEAD_BYTES])):
        raise DataError(field, where, found.what, found.remedy)
    return data


def decoded(data: bytes, *, field: str, where: str) -> str:
    """Plain bytes as text, without a byte order mark. Errors: DataError for what is no text."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None:
        first_line = data[:_CHUNK_BYTES].partition(b"\n")[0]
        if b"\0" in first_line:
            raise DataError(field, where, *_of_nulls(first_line))
        return data.decode("utf-8-sig", "surrogateescape")
    try:
        return data.decode(encoding, "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            field, where, f"begins as {encoding.upper()} but is not ({error.reason})",
            "save it as UTF-8",
        ) from None  # fmt: skip


def _compression(data: bytes) -> str | None:
    return next((name for magic, name in _COMPRESSIONS if data.startswith(magic)), None)


def _unpacked(data: bytes, compression: str, field: str, where: str) -> bytes:
    out = io.BytesIO()
    try:
        with _stream(data, compression) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                out.write(chunk)
                if out.tell() > MAX_BYTES:
                    raise DataError(
                        field, where, f"unpacks to more than {MAX_BYTES // 1024**3} GiB", "split it"
                    )
    except (pa.ArrowException, OSError, EOFError, lzma.LZMAError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise DataError(
            field, where, f"is {compression} that is cut off or damaged ({reason})",
            "pack or download it again",
        ) from None  # fmt: skip
    return out.getvalue()


def _stream(data: bytes, compression: str) -> BinaryIO:
    if compression == "xz":
        return cast(BinaryIO, lzma.open(io.BytesIO(data)))
    return cast(BinaryIO, pa.CompressedInputStream(pa.BufferReader(data), compression))


def _of_nulls(line: bytes) -> tuple[str, str]:
    halves = [sum(byte == 0 for byte in line[start::2]) for start in (0, 1)]
    if max(halves) > len(line) // 4 and not min(halves):
        return "is UTF-16 without a byte order mark", "save it as UTF-8"
    return "holds NUL bytes in its first line and so is no text", "save it as UTF-8 text"

"""The second stage of `cache`: the model on a worker, which encodes what the first did not find.

Pictures of one size share batches, in the order of the piece, and so do its different captions. A
piece for which nothing is missing loads no model.

Legend: B rows of a batch, K variants, C H W of latents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from darkroom.diffusion.pixels import to_unit_range
from darkroom.jobs.artifacts.latents import NO_TEXT_NAME
from darkroom.jobs.batch.once import made_once
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.cache.read import reused, stacked
from darkroom.jobs.cache.schema import COUNTS, LATENTS_SCHEMA, TEXT_SCHEMA
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.rejects import Rejects
from darkroom.models.families.family import TextEmbedding
from darkroom.models.families.latents import Posterior
from darkroom.storage import PartWriter

T = TypeVar("T")


class LatentEncoder(Protocol):
    """A model, as far as it encodes."""

    def posterior(self, x_BCHW: Tensor) -> Posterior:
        """Of pictures in [-1, 1]."""

    def encode_text(self, captions: Sequence[str]) -> TextEmbedding:
        """Of captions."""

    def no_text(self) -> TextEmbedding:
        """What stands for no caption, one row."""

    def truncated(self, caption: str) -> int:
        """Tokens of the caption that are left out."""


class EncodeRows:
    """The stage's function, holding the model. Rows whose encodings are not finite are rejected."""

    def __init__(
        self,
        load: Callable[[], LatentEncoder],
        writer: PartWriter,
        *,
        with_text: bool = True,
        batch_size: int,
        stored_dtype: str,
    ) -> None:
        self._load, self._writer, self._with_text = load, writer, with_text
        self._batch_size = batch_size
        self._stored = np.dtype(stored_dtype).newbyteorder("<")

    @cached_property
    def _encoder(self) -> LatentEncoder:
        # With the first piece that needs it: its time then counts as the stage's.
        return self._load()

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        rows: list[dict[str, Any]] = table.to_pylist()
        faults: dict[str, tuple[str, str]] = {}
        self._pictures(rows, faults)
        for row in rows:
            row["num_texts"] = int(self._with_text and row["sequence"] is None)
        self._texts([row for row in rows if row["num_texts"]], faults)
        for row_id, fault in faults.items():
            rejects.add(row_id, *fault)
        kept = [row for row in rows if row[ID] not in faults]
        schema = pa.schema([*LATENTS_SCHEMA, *((name, pa.int64()) for name in COUNTS)])
        return pa.Table.from_pylist(kept, schema=schema)

    def _pictures(self, rows: Sequence[dict[str, Any]], faults: dict[str, tuple[str, str]]) -> None:
        by_size: defaultdict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
        for at, row in enumerate(rows):
            by_size[row["height"], row["width"]] += [(at, pixels) for pixels in row["pixels"]]
        made: defaultdict[int, list[bytes]] = defaultdict(list)
        for size, wanted in by_size.items():
            for some in _batches(wanted, self._batch_size):
                found = self._posteriors(size, [pixels for _, pixels in some])
                for (at, _), encoding in zip(some, found, strict=True):
                    rows[at]["latents_shape"] = [len(rows[at]["kept"]), *encoding.shape]
                    made[at].append(encoding.tobytes())
                    if not np.isfinite(encoding).all():
                        what = "the VAE's encoding of it is not finite"
                        faults[rows[at][ID]] = "nan_latents", what
        for at, row in enumerate(rows):
            row["latents"] = stacked(row["kept"], iter(made[at]))
            row["num_encoded"], row["num_reused"] = len(made[at]), reused(row["kept"])

    def _posteriors(
        self, size: tuple[int, int], pictures: Sequence[bytes]
    ) -> Iterator[np.ndarray[Any, Any]]:
        """(2, C, H, W) of each, as it is stored."""
        pixels = np.stack([np.frombuffer(data, np.uint8).reshape(*size, 3) for data in pictures])
        x_BCHW = to_unit_range(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        found = self._encoder.posterior(x_BCHW)
        for encoding in torch.stack([found.mean, found.log_variance], 1):
            yield self._array(encoding)

    def _texts(self, missing: Sequence[dict[str, Any]], faults: dict[str, tuple[str, str]]) -> None:
        made: dict[str, dict[str, Any]] = {}
        captions = list(dict.fromkeys(row["caption"] for row in missing))
        for some in _batches(captions, self._batch_size):
            columns = self._columns(self._encoder.encode_text(some))
            made.update(zip(some, columns, strict=True))
        for row in missing:
            row.update(made[row["caption"]])
            row["is_truncated"] = self._encoder.truncated(row["caption"]) > 0
            if not self._is_finite(row):
                faults[row[ID]] = "nan_text", "the embedding of its caption is not finite"
        if missing:
            _ = self._no_text_stored

    @cached_property
    def _no_text_stored(self) -> bytes:
        """Looked for once for each worker; of all of them one makes it."""
        return made_once(self._writer, NO_TEXT_NAME, self._no_text)

    def _no_text(self) -> bytes:
        rows = list(self._columns(self._encoder.no_text()))
        return parquet_bytes(pa.Table.from_pylist(rows, schema=TEXT_SCHEMA))

    def _columns(self, text: TextEmbedding) -> Iterator[dict[str, Any]]:
        for at, sequence in enumerate(text.sequence):
            pooled = None if text.pooled is None else self._array(text.pooled[at]).tobytes()
            stored = self._array(sequence)
            yield {
                "sequence": stored.tobytes(),
                "sequence_shape": list(stored.shape),
                "pooled": pooled,
            }

    def _is_finite(self, row: Mapping[str, Any]) -> bool:
        parts = [row[name] for name in ("sequence", "pooled") if row[name] is not None]
        return all(np.isfinite(np.frombuffer(part, self._stored)).all() for part in parts)

    def _array(self, values: Tensor) -> np.ndarray[Any, Any]:
        """As it is stored."""
        return values.detach().float().cpu().numpy().astype(self._stored)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

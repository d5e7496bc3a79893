"""What `evaluate` sees of its inputs, without a Ray: the plan, and its first two stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.split_rows import SplitPart
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.measuring.comparison import GENERATED, LABEL, PIXELS, SET, column_bytes
from darkroom.jobs.measuring.measurement import Inputs, Measurement
from darkroom.jobs.measuring.planning import plan
from darkroom.jobs.measuring.stages import PictureRead, PixelDecode
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.storage import Uri, open_output


@dataclass(frozen=True)
class Seen:
    """The generated pictures as they are compared."""

    images: NDArray[np.uint8]
    """(N, C, H, W)"""
    labels: list[int | None]
    rejects: Sequence[Reject]


def planned(source: str | Path, reference: str | Path | Uri, **settings: Any) -> Measurement:
    """The plan of an evaluation of pixels."""
    values = {
        "input": str(source), "reference": str(reference), "output": f"{source}-out",
        "metrics": ["memorisation"], **settings,
    }  # fmt: skip
    config = build_config(EvaluateConfig, values)
    inputs = Inputs(config.input, config.reference, config.against)
    return plan(config, inputs, limit=config.limit, seed=config.seed)


def seen(source: str | Path, reference: str | Path | Uri, **settings: Any) -> Seen:
    """Errors: those of planning, and of the stages."""
    measurement = planned(source, reference, **settings)
    rejects = Rejects("decode")
    rows = measurement.rows.filter(pc.equal(measurement.rows[SET], GENERATED))
    read = PictureRead(measurement.reading, 4)(rows, rejects)
    decoded: pa.Table = PixelDecode(measurement.reading)(read, rejects)
    shape = measurement.reading.making.shape
    return Seen(
        column_bytes(decoded[PIXELS]).reshape(-1, *shape.chw),
        decoded[LABEL].to_pylist(),
        [*measurement.rejected, *rejects.found],
    )


def one_picture_reference(
    uri: str | Path, image: bytes, shape: ImageShape, *, classes: Sequence[str], **settings: Any
) -> str:
    """A dataset whose splits hold one picture each, prepared with `settings`; its URI."""
    values = {"source": {"kind": "digits"}, "output": str(uri), **settings}
    config = build_config(PrepareConfig, values)
    rows = parquet_bytes(pa.table({"id": ["a"], "image": [image], "label": [0]}))
    splits: tuple[Split, ...] = ("train", "test")
    with open_output(str(uri), kind="dataset", config=config) as output:
        files = [
            output.writer.write_bytes(
                f"data/{split}/part-00000.parquet", rows, rows=1,
                metadata=SplitPart(split, (1,)).to_metadata(),
            )
            for split in splits
        ]  # fmt: skip
        info = DatasetInfo(
            classes=tuple(classes), num_rows=2, split_rows=dict.fromkeys(splits, 1),
            image_size=(shape.height, shape.width), channels=1 if shape.channels == 1 else 3,
            num_rejected=0, rejected={}, piece_rows=256, figures=None,
            num_skipped={}, source=values["source"],
        )  # fmt: skip
        output.publish(files, rows=2, metadata=info.to_metadata())
    return str(uri)

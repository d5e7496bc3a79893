"""Batch classification as Daft's documentation has it: a glob, download, decode, a class."""

from __future__ import annotations

import os
from typing import Any

import daft
import numpy as np
import torch
from benchmarks.peer_programs.answering import answer
from benchmarks.peer_programs.daft_s3 import io_config
from benchmarks.peer_programs.networks import MEAN, STD, build
from daft import DataType, col
from daft.functions import decode_image, download, resize


@daft.cls(max_concurrency=1, use_process=False)
class Classify:
    """One copy of the network."""

    def __init__(self, network: str) -> None:
        self._model, _ = build(network)
        torch.set_num_threads(os.cpu_count() or 1)
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))

    @daft.method.batch(return_dtype=DataType.int64())  # type: ignore[untyped-decorator]
    def label(self, images: daft.Series) -> Any:
        pixels = np.stack([np.asarray(image) for image in images.to_pylist()])
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return self._model((x - self._mean) / self._std).argmax(dim=1).numpy()


def classify(
    *, bucket: str, prefix: str, output: str, network: str, batch_size: int
) -> dict[str, Any]:
    """Daft has no crop by the centre, so it resizes to the crop's size: less than others do."""
    config = io_config()
    model = Classify(network)
    side = 224
    frame = daft.from_glob_path(f"s3://{bucket}/{prefix}*.jpg", io_config=config)
    data = download(col("path"), io_config=config)
    frame = frame.with_column("image", resize(decode_image(data, mode="RGB"), side, side))
    frame = frame.into_batches(batch_size)
    frame = frame.with_column("label", model.label(col("image"))).select("path", "label")
    place = f"s3://{bucket}/{output}"
    frame.write_parquet(place, io_config=config)
    return {"rows": daft.read_parquet(f"{place}/*.parquet", io_config=config).count_rows()}


if __name__ == "__main__":
    answer({"classify": classify})

"""Batch classification as one writes it in plain torch: a Dataset on S3, a DataLoader, a loop."""

from __future__ import annotations

import io
import os
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmarks.peer_programs.answering import answer
from benchmarks.peer_programs.networks import build, transform_of
from botocore.config import Config
from PIL import Image
from torch.utils.data import DataLoader, Dataset


def _client() -> Any:
    config = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], config=config)


class Pictures(Dataset[tuple[str, torch.Tensor]]):
    """The objects below a prefix."""

    def __init__(self, bucket: str, prefix: str, transform: Any) -> None:
        self._bucket, self._transform, self._s3 = bucket, transform, None
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        self._keys = [item["Key"] for page in pages for item in page.get("Contents", [])]

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        if self._s3 is None:  # of the process that reads
            self._s3 = _client()
        key = self._keys[index]
        data = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()  # type: ignore[attr-defined]
        with Image.open(io.BytesIO(data)) as picture:
            return key, self._transform(picture.convert("RGB"))


def classify(
    *, bucket: str, prefix: str, output: str, network: str, batch_size: int, num_workers: int
) -> dict[str, Any]:
    """num_workers: 0 reads in this process."""
    model, (resize, crop) = build(network)
    torch.set_num_threads(os.cpu_count() or 1)
    pictures = Pictures(bucket, prefix, transform_of(resize, crop))
    loader = DataLoader(
        pictures, batch_size=batch_size, num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
    )  # fmt: skip
    paths: list[str] = []
    labels: list[int] = []
    with torch.inference_mode():
        for keys, images in loader:
            paths += keys
            labels += model(images).argmax(dim=1).tolist()
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": paths, "label": labels}), sink)
    _client().put_object(Bucket=bucket, Key=output, Body=sink.getvalue())
    return {"rows": len(paths)}


if __name__ == "__main__":
    answer({"classify": classify})

"""Prompts to pictures as one writes it: a diffusers pipeline in a loop, PNGs to S3."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

import boto3
import torch
from benchmarks.peer_programs.answering import answer
from botocore.config import Config
from diffusers import DiffusionPipeline


def generate(
    *, table: str, model: str, bucket: str, output: str, batch_size: int, num_steps: int, side: int
) -> dict[str, Any]:
    """table: a CSV of the bucket with a column `prompt`."""
    config = Config(s3={"addressing_style": "path"})
    s3: Any = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], config=config)
    torch.set_num_threads(os.cpu_count() or 1)
    pipeline: Any = DiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    text = s3.get_object(Bucket=bucket, Key=table)["Body"].read().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        pictures = pipeline(
            [row["prompt"] for row in some], num_inference_steps=num_steps, height=side, width=side,
            generator=[torch.Generator().manual_seed(start + at) for at in range(len(some))],
        ).images  # fmt: skip
        for row, picture in zip(some, pictures, strict=True):
            data = io.BytesIO()
            picture.save(data, "PNG")
            s3.put_object(Bucket=bucket, Key=f"{output}/{row['id']}.png", Body=data.getvalue())
    return {"rows": len(rows)}


if __name__ == "__main__":
    answer({"generate": generate})

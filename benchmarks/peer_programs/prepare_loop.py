"""Preparing pictures as one writes it by hand: a pool of processes, Pillow, shards on S3.

Each process takes so many keys at a time, reads them by several threads, decodes, checks, crops,
resizes and encodes them, and writes a shard of its own: Parquet, or as webdataset has it, a tar.
"""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds
from benchmarks.peer_programs.answering import answer
from botocore.config import Config
from PIL import Image, ImageOps

READS_AT_ONCE = 16


def _new_client() -> Any:
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=READS_AT_ONCE)
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], config=config)


@cache
def _client() -> Any:
    """That of a process of the pool: forked ones must share no connection."""
    return _new_client()


def _rows(bucket: str, keys: list[str], side: int, quality: int) -> Iterator[dict[str, Any]]:
    def read(key: str) -> bytes:
        data: bytes = _client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    _client()  # boto3 makes clients in one thread alone
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        for key, data in zip(keys, threads.map(read, keys), strict=True):
            try:
                with Image.open(io.BytesIO(data)) as picture:
                    fitted = ImageOps.fit(
                        picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC
                    )
            except (OSError, ValueError):  # what cannot be decoded is left out
                continue
            encoded = io.BytesIO()
            fitted.save(encoded, "JPEG", quality=quality)
            yield {"id": key, "image": encoded.getvalue(), "label": key.split("/")[-2]}


def _parquet(work: tuple[str, list[str], int, int, str]) -> int:
    bucket, keys, side, quality, target = work
    table = pa.Table.from_pylist(list(_rows(bucket, keys, side, quality)))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    _client().put_object(Bucket=bucket, Key=f"{target}.parquet", Body=sink.getvalue())
    return len(table)


def _tar(work: tuple[str, list[str], int, int, str]) -> int:
    bucket, keys, side, quality, target = work
    sink, count = io.BytesIO(), 0
    with wds.TarWriter(sink) as writer:
        for row in _rows(bucket, keys, side, quality):
            name = row["id"].rpartition(".")[0].replace(".", "_")
            writer.write({"__key__": name, "jpg": row["image"], "cls": row["label"].encode()})
            count += 1
    _client().put_object(Bucket=bucket, Key=f"{target}.tar", Body=sink.getvalue())
    return count


def prepare(
    *, bucket: str, prefix: str, output: str, side: int, quality: int, shard: int, kind: str
) -> dict[str, Any]:
    """kind: parquet or tar. shard: pictures of one at most."""
    pages = _new_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    works = [
        (bucket, keys[start : start + shard], side, quality, f"{output}/{start:06d}")
        for start in range(0, len(keys), shard)
    ]
    # Forked, as Python does by default up to 3.13: no thread runs here.
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        write = {"parquet": _parquet, "tar": _tar}[kind]
        count = sum(pool.imap_unordered(write, works))
        pool.close()
        pool.join()  # or the processor seconds of its processes are not known
    return {"rows": count}


if __name__ == "__main__":
    answer({"prepare": prepare})

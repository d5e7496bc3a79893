"""Preparing pictures as Daft's documentation has it: a glob, download, decode, encode, Parquet."""

from __future__ import annotations

from typing import Any

import daft
from benchmarks.peer_programs.answering import answer
from benchmarks.peer_programs.daft_s3 import io_config
from daft import DataType, col, lit
from daft.functions import (
    crop,
    decode_image,
    download,
    encode_image,
    image_height,
    image_width,
    regexp_extract,
    resize,
    to_list,
    when,
)


def prepare(*, bucket: str, prefix: str, output: str, side: int) -> dict[str, Any]:
    """JPEG by Daft's own quality, which cannot be set."""
    config = io_config()
    frame = daft.from_glob_path(f"s3://{bucket}/{prefix}*/*.jpg", io_config=config)
    data = download(col("path"), on_error="null", io_config=config)
    frame = frame.with_column("image", decode_image(data, mode="RGB", on_error="null"))
    frame = frame.where(col("image").not_null())
    width, height = image_width(col("image")), image_height(col("image"))
    least = when(width < height, width).otherwise(height)
    window = to_list((width - least) // 2, (height - least) // 2, least, least)
    window = window.cast(DataType.fixed_size_list(DataType.uint32(), 4))
    frame = frame.with_column("image", crop(col("image"), window))
    frame = frame.with_column("image", encode_image(resize(col("image"), side, side), "JPEG"))
    label = regexp_extract(col("path"), lit("([^/]+)/[^/]+$"), 1)
    place = f"s3://{bucket}/{output}"
    frame.select("path", "image", label.alias("label")).write_parquet(place, io_config=config)
    return {"rows": daft.read_parquet(f"{place}/*.parquet", io_config=config).count_rows()}


if __name__ == "__main__":
    answer({"prepare": prepare})

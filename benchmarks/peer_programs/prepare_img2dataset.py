"""img2dataset, which reads a table of URLs: those that S3 signs for its own objects.

Its hash of each picture and its look at EXIF are off, and every download has its whole time.
"""

from __future__ import annotations

import json
import os
from typing import Any

import fsspec
from benchmarks.peer_programs.answering import answer
from img2dataset import download


def prepare(
    *, urls: str, bucket: str, output: str, side: int, quality: int, shard: int
) -> dict[str, Any]:
    """urls: a Parquet file with columns `url` and `label`."""
    place = f"s3://{bucket}/{output}"
    download(
        url_list=urls, input_format="parquet", url_col="url", save_additional_columns=["label"],
        output_folder=place, output_format="parquet", number_sample_per_shard=shard,
        image_size=side, resize_mode="center_crop", encode_quality=quality,
        processes_count=os.cpu_count() or 1, thread_count=16, compute_hash=None,
        extract_exif=False, timeout=60, disallowed_header_directives=[],
    )  # fmt: skip
    there: Any = fsspec.filesystem("s3")
    told = [json.loads(there.cat(path)) for path in there.glob(f"{place}/*_stats.json")]
    return {"rows": sum(each["successes"] for each in told)}


if __name__ == "__main__":
    answer({"prepare": prepare})

"""Captioned real photographs as `prepare` publishes them: crops of what packages ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.helpers.pictures import crops
from tests.helpers.tiny_artifacts import parquet, png
from tests.helpers.tiny_families import PIXELS

from darkroom.config import JobConfig
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.storage import Artifact, FileEntry, open_output

CAPTION_OF = {
    "astronaut": "an astronaut in a suit",
    "chelsea": "a photo of a cat",
    "coffee": "a photo of a cup of coffee",
    "rocket": "a rocket at launch",
}


def publish_captioned(
    uri: str | Path,
    *,
    side: int = PIXELS,
    captions: bool = True,
    num_each: int = 8,
    num_test: int = 0,
) -> Artifact:
    """`num_each` crops of each photograph to train on, two of each to validate, `num_test` to
    compare with."""
    with open_output(str(uri), kind="dataset", config=JobConfig(output=str(uri))) as output:
        files: list[FileEntry] = []
        numbers = {"train": num_each, "validation": 2, "test": num_test}
        counts = {split: number * len(CAPTION_OF) for split, number in numbers.items() if number}
        first = {"train": 0, "validation": 2, "test": num_each}
        for split in counts:
            number = numbers[split]
            rows = list(_rows(split, number, side, skipped=first[split], captions=captions))
            groups = [len(rows)]
            files.append(
                output.writer.write_bytes(
                    f"data/{split}/part-00000.parquet",
                    parquet(rows, row_group_rows=len(rows)),
                    rows=len(rows),
                    metadata={"split": split, "row_groups": groups},
                )
            )
        info = DatasetInfo(
            num_rows=sum(counts.values()), num_rejected=0, rejected={}, piece_rows=512,
            figures=None, classes=(), split_rows=counts, image_size=(side, side), channels=3,
            num_skipped={}, source={"kind": "captions"},
        )  # fmt: skip
        return output.publish(files, rows=info.num_rows, metadata=info.to_metadata())


def _rows(split: str, number: int, side: int, *, skipped: int, captions: bool) -> Any:
    for name, caption in CAPTION_OF.items():
        for index, crop in enumerate(list(crops(name, number + skipped))[skipped:]):
            pixels = np.asarray(crop.resize((side, side))).transpose(2, 0, 1)
            yield {
                "id": f"{split}-{name}-{index}", "image": png(pixels), "label": None,
                "caption": caption if captions else None, "split": split, "width": side,
                "height": side,
            }  # fmt: skip

"""Datasets of captioned photographs in buckets, and `darkroom cache` on them without Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.helpers.batch_here import Wrap, stages_here
from tests.helpers.pictures import encoded, thumbnail
from tests.helpers.tiny_artifacts import parquet

from darkroom.config import JobConfig, build_config
from darkroom.jobs.artifacts.dataset import BucketRows, DatasetInfo
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.cache.config import CacheConfig
from darkroom.jobs.cache.job import run
from darkroom.storage import Artifact, open_artifact, open_output

WIDE, TALL, SQUARE = (48, 32), (32, 48), (40, 40)
"""Width and height of the buckets' pictures."""


@dataclass(frozen=True)
class Captioned:
    """A picture of a dataset."""

    name: str
    size: tuple[int, int]
    caption: str | None

    @property
    def data(self) -> bytes:
        """Encoded."""
        return encoded(thumbnail(self.name, self.size))


PICTURES: Mapping[str, Captioned] = {
    "a": Captioned("china", WIDE, "a palace with a red roof"),
    "b": Captioned("flower", SQUARE, "a flower"),
    "c": Captioned("coffee", WIDE, "a cup of coffee on a table"),
    "d": Captioned("chelsea", TALL, "a cat"),
    "e": Captioned("rocket", TALL, "a flower"),
}


def publish_pictures(
    uri: str, pictures: Mapping[str, Captioned] = PICTURES, *, in_buckets: bool = True
) -> Artifact:
    """The pictures as `prepare` publishes them, all but the last in the split train."""
    *train, last = pictures
    with open_output(uri, kind="dataset", config=JobConfig(output=uri), parents=[]) as output:
        files = []
        for split, ids in (("train", train), ("validation", [last])):
            rows = [
                {
                    "id": row_id,
                    "image": pictures[row_id].data,
                    "label": None,
                    "caption": pictures[row_id].caption,
                    "split": split,
                    "width": pictures[row_id].size[0],
                    "height": pictures[row_id].size[1],
                }
                for row_id in ids
            ]
            groups = [min(3, len(ids) - start) for start in range(0, len(ids), 3)]
            files.append(
                output.writer.write_bytes(
                    f"data/{split}/part-00000.parquet", parquet(rows, row_group_rows=3),
                    rows=len(rows), metadata={"split": split, "row_groups": groups},
                )
            )  # fmt: skip
        counts = Counter(pictures[row_id].size for row_id in train)
        buckets = [
            BucketRows(height=height, width=width, split_rows={"train": counts[width, height]})
            for width, height in sorted({one.size for one in pictures.values()})
        ]
        info = DatasetInfo(
            num_rows=len(pictures), num_rejected=0, rejected={}, piece_rows=4, figures=None,
            classes=(), split_rows={"train": len(train), "validation": 1}, image_size=None,
            channels=3, num_skipped={}, source={"kind": "captions"},
            buckets=tuple(buckets) if in_buckets else (),
        )  # fmt: skip
        return output.publish(files, rows=len(pictures), metadata=info.to_metadata())


def cache_config(data: str, output: str, model: object, **values: Any) -> CacheConfig:
    """A few rows to a piece."""
    settings = {"input": data, "output": output, "base": str(model), "piece_rows": 3, **values}
    return build_config(CacheConfig, settings)


def cached_here(config: CacheConfig, wrap: Wrap = lambda _, function: function) -> Latents:
    """What `darkroom cache` publishes, made in this process."""
    with stages_here(wrap):
        run(config)
    return Latents.of(open_artifact(config.output))

"""Small published outputs for tests, with the layout and metadata that the verbs publish.

`publish_model` makes what `train` publishes from any U-Net (by default a tiny untrained one),
`publish_digits` what `prepare` publishes of scikit-learn's digits, `publish_samples` what
`sample` publishes of given pictures. Everything goes through the real publishing protocol.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray
from PIL import Image

from darkroom.config import JobConfig
from darkroom.diffusion import ScheduleConfig, build_schedule
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.model import Goodput, ModelInfo
from darkroom.jobs.artifacts.samples import ModelName, SamplesInfo, StripFrame
from darkroom.storage import Artifact, FileEntry, Parent, open_output

DIGITS = tuple("0123456789")
NUM_TRAIN, NUM_VALIDATION = 1257, 180
"""Of the 1,797 digits; the rest are the test split."""


def tiny_unet(
    *, num_classes: int | None = 10, channels: int = 1, size: int = 8, seed: int = 0
) -> UNet2DModel:
    """Two levels with attention on the lower one: 30 thousand random weights."""
    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
        num_class_embeds=None if num_classes is None else num_classes + 1,
    )


def publish_model(
    uri: str | Path,
    unet: UNet2DModel | None = None,
    *,
    classes: Sequence[str] = DIGITS,
    schedule: ScheduleConfig | None = None,
    parents: Sequence[Parent] = (),
    log: Sequence[dict[str, Any]] = ({"step": 1, "loss": 1.0},),
    seconds: float = 1.0,
    account: Goodput | None = None,
) -> Artifact:
    """A model as `train` publishes it; without an account where none is given."""
    unet = tiny_unet(num_classes=len(classes) or None) if unet is None else unet
    schedule = ScheduleConfig(num_timesteps=100) if schedule is None else schedule
    size = unet.config["sample_size"]
    with (
        open_output(
            str(uri), kind="model", config=JobConfig(output=str(uri)), parents=parents
        ) as output,
        tempfile.TemporaryDirectory() as folder,
    ):
        tree = Path(folder) / "model"
        unet.save_pretrained(tree / "unet")
        (tree / "scheduler").mkdir()
        scheduler = json.dumps(build_schedule(schedule).to_diffusers("epsilon"))
        (tree / "scheduler" / "scheduler_config.json").write_text(scheduler)
        (tree / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
        (tree / "model_card.md").write_text("# A tiny model\n")
        pq.write_table(pa.Table.from_pylist(_metric_rows(log)), Path(folder) / "metrics.parquet")
        return output.publish(
            output.writer.write_tree(folder),
            metadata=ModelInfo(
                classes=tuple(classes),
                image_size=(size, size),
                channels=unet.config["in_channels"],
                class_conditional=unet.config["num_class_embeds"] is not None,
                null_class=len(classes) or None,
                schedule=schedule,
                prediction_type="epsilon",
                step=log[-1]["step"],
                seconds=seconds,
                final={},
                account=account,
            ).to_metadata(),
        )


@cache
def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1,797 real digits as uint8 BCHW, shuffled once for all, and their labels."""
    from sklearn.datasets import load_digits as load

    digits = load()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images / 16 * 255).round().astype(np.uint8)
    return images[order, None], digits.target[order].astype(np.int64)


def split_digits(
    split: str, limit: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One split of them (train, validation or test), or its first `limit`."""
    ends = {
        "train": (0, NUM_TRAIN),
        "validation": (NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION),
        "test": (NUM_TRAIN + NUM_VALIDATION, None),
    }
    images, labels = load_digits()
    start, stop = ends[split]
    return images[start:stop][:limit], labels[start:stop][:limit]


def publish_digits(
    uri: str | Path, *, parents: Sequence[Parent] = (), captions: bool = False
) -> Artifact:
    """The digits as `prepare` publishes them; with captions ("a 7") if asked."""
    with open_output(
        str(uri), kind="dataset", config=JobConfig(output=str(uri)), parents=parents
    ) as output:
        files: list[FileEntry] = []
        counts = {}
        for split in ("train", "validation", "test"):
            images, labels = split_digits(split)
            counts[split] = len(images)
            rows = [
                {
                    "id": f"{split}-{index:04d}",
                    "image": png(image),
                    "label": int(label),
                    "caption": f"a {label}" if captions else None,
                    "split": split,
                    "width": image.shape[2],
                    "height": image.shape[1],
                }
                for index, (image, label) in enumerate(zip(images, labels, strict=True))
            ]
            files.append(
                output.writer.write_bytes(
                    f"data/{split}/part-00000.parquet",
                    parquet(rows, row_group_rows=512),
                    rows=len(rows),
                    metadata={"split": split, "row_groups": _groups(len(rows), 512)},
                )
            )
        return output.publish(
            files,
            rows=sum(counts.values()),
            metadata=DatasetInfo(
                num_rows=sum(counts.values()),
                num_rejected=0,
                rejected={},
                piece_rows=512,
                figures=None,
                classes=DIGITS,
                split_rows=counts,
                image_size=(8, 8),
                channels=1,
                num_skipped={},
                source={"kind": "digits"},
            ).to_metadata(),
        )


def publish_samples(
    uri: str | Path,
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.int64],
    *,
    classes: Sequence[str] = DIGITS,
    parents: Sequence[Parent] = (),
    strip_timesteps: Sequence[int | None] = (),
) -> Artifact:
    """Pictures (uint8 BCHW) as `sample` publishes them.

    With `strip_timesteps`, the first picture of class 0 is also there as that many frames.
    """
    rows = [
        {
            "index": index,
            "id": f"{index:06d}",
            "label": int(label),
            "class_name": classes[int(label)],
            "file_name": f"images/{index:06d}.png",
        }
        for index, label in enumerate(labels)
    ]
    names, counts = np.unique([row["class_name"] for row in rows], return_counts=True)
    with (
        open_output(
            str(uri), kind="samples", config=JobConfig(output=str(uri)), parents=parents
        ) as output,
        tempfile.TemporaryDirectory() as folder,
    ):
        (Path(folder) / "images").mkdir()
        for row, image in zip(rows, images, strict=True):
            (Path(folder) / str(row["file_name"])).write_bytes(png(image))
        data = output.writer.write_bytes(
            "data/part-00000.parquet", parquet(rows, row_group_rows=200), rows=len(rows)
        )
        frames = [
            output.writer.write_bytes(
                f"strip/{classes[0]}-{number:02d}.png", png(images[0]),
                metadata=StripFrame(classes[0], t).to_metadata(),
            )
            for number, t in enumerate(strip_timesteps)
        ]  # fmt: skip
        return output.publish(
            [data, *output.writer.write_tree(folder), *frames],
            rows=len(rows),
            metadata=SamplesInfo(
                classes=tuple(classes),
                num_per_class=dict(zip(names.tolist(), counts.tolist(), strict=True)),
                image_size=(images.shape[2], images.shape[3]),
                channels=images.shape[1],
                sampler="ddim",
                num_steps=10,
                guidance_scale=1.0,
                eta=0.0,
                seed=0,
                model=ModelName(uri="file:///model", digest="0" * 64, step=1),
                num_rows=len(rows),
                num_rejected=0,
                rejected={},
                piece_rows=len(rows),
                figures={"rows_per_second": float(len(rows))},
            ).to_metadata(),
        )


def png(image: NDArray[np.uint8]) -> bytes:
    """One picture, CHW, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(rows: Sequence[dict[str, Any]], *, row_group_rows: int) -> bytes:
    """Rows as a Parquet file with page checksums."""
    sink = io.BytesIO()
    table = pa.Table.from_pylist(list(rows))
    if "label" in table.column_names and pa.types.is_null(table["label"].type):
        at = table.column_names.index("label")
        table = table.set_column(at, "label", table["label"].cast(pa.int64()))
    pq.write_table(table, sink, row_group_size=row_group_rows, write_page_checksum=True)
    return sink.getvalue()


def _groups(num_rows: int, size: int) -> list[int]:
    return [min(size, num_rows - start) for start in range(0, num_rows, size)]


def _metric_rows(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("loss", "validation_loss", "learning_rate", "grad_norm", "images_per_second")
    return [{"step": row["step"], **{name: row.get(name) for name in names}} for row in log]

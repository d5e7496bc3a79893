"""`evaluate` by LPIPS: how far pictures of one class lie from each other.

The stages run in this process, with a random SqueezeNet and the real weights of channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.feature_networks import photograph_crops, save_squeezenet
from tests.helpers.tiny_artifacts import png, publish_samples

from darkroom.config import build_config
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run
from darkroom.storage import open_artifact

pytestmark = pytest.mark.usefixtures("here")

CLASSES = ("one", "two", "three")
NUM_IMAGES, SIDE = 24, 36
LABELS = [at % 3 for at in range(NUM_IMAGES)]
"""In turn, as `sample` draws: picture i is paired with i + 3, the next of its class."""
PAIRS = [(at, at + 3) for at in range(NUM_IMAGES) if at % 6 < 3]
VARIED = photograph_crops(NUM_IMAGES, 1, SIDE)
ALIKE = np.stack([VARIED[label] for label in LABELS])
"""What a model draws that has one picture for a class."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lpips")
    save_squeezenet(folder / "squeezenet.pth")
    (folder / "reference").mkdir()
    for index, picture in enumerate(photograph_crops(12, 2, SIDE)):
        (folder / "reference" / f"{index:02d}.png").write_bytes(png(picture))
    for name, images in (("varied", VARIED), ("alike", ALIKE)):
        publish_samples(folder / name, images, LABELS, classes=CLASSES)
    return folder


def evaluate(root: Path, source: str, output: Path, **values: Any) -> Mapping[str, Any]:
    """Run the verb; returns what it published as metrics.json."""
    lpips = {"net": "squeeze", "weights": str(root / "squeezenet.pth")}
    settings = {
        "input": str(root / source), "reference": str(root / "reference"), "output": str(output),
        "metrics": ["lpips_diversity"], "networks": {"lpips": lpips, "batch_size": 5},
        "num_bootstrap": 40, "piece_rows": 7, **values,
    }  # fmt: skip
    run(build_config(EvaluateConfig, settings))
    found: Mapping[str, Any] = open_artifact(str(output)).read_json("metrics.json")
    return found


def expected(root: Path, images: Any) -> list[float]:
    """By torchmetrics, pair by pair."""
    from torchmetrics.functional.image.lpips import _LPIPS

    network: Any = _LPIPS(pretrained=True, net="squeeze", pnet_rand=True)
    state = torch.load(root / "squeezenet.pth", weights_only=True)
    for piece in network.net.slices:
        for name, layer in piece.named_children():
            prefix = f"features.{name}."
            layer.load_state_dict(
                {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
            )
    a, b = (torch.from_numpy(images[list(side)]) / 255 for side in zip(*PAIRS, strict=True))
    with torch.no_grad():
        distances: list[float] = network(a, b, normalize=True).flatten().tolist()
    return distances


def test_the_figure_is_the_mean_over_pairs_of_a_class(root: Path, tmp_path: Path) -> None:
    values = evaluate(root, "varied", tmp_path / "out", require=["lpips_diversity>0"])
    metric = values["metrics"]["lpips_diversity"]
    distances = expected(root, VARIED)
    assert metric["value"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert metric["n"] == len(PAIRS) == 12
    assert metric["lower"] < metric["value"] < metric["upper"]
    assert min(distances) < metric["lower"]
    assert "floor" not in metric, "a folder without classes has no pairs"
    assert values["verdicts"][0]["met"]
    assert values["extractors"]["lpips"]["resize"] == "no filter, at their own size (squeeze)"
    parents = open_artifact(tmp_path / "out").manifest.parents
    assert {parent.role for parent in parents} == {"samples", "reference", "lpips"}


def test_one_picture_for_a_class_is_seen_and_is_no_better_or_worse(
    root: Path, tmp_path: Path
) -> None:
    values = evaluate(root, "alike", tmp_path / "out", against=str(root / "varied"))
    assert values["metrics"]["lpips_diversity"]["value"] == pytest.approx(0, abs=1e-6)
    second = values["against"]
    assert second["is_paired"]
    difference = second["differences"]["lpips_diversity"]
    distances = expected(root, VARIED)
    assert difference["value"] == pytest.approx(-np.mean(distances), rel=1e-4)
    assert difference["upper"] < 0
    assert "better" not in difference


def test_the_size_of_a_piece_changes_nothing(root: Path, tmp_path: Path) -> None:
    one, other = (
        evaluate(root, "varied", tmp_path / str(rows), piece_rows=rows)["metrics"]
        for rows in (3, 100)
    )
    for name in ("value", "lower", "upper"):
        same = pytest.approx(other["lpips_diversity"][name], rel=1e-5)
        assert one["lpips_diversity"][name] == same


def test_a_kept_reference_needs_no_pairs(root: Path, tmp_path: Path) -> None:
    metrics = ["lpips_diversity", "kernel_pixels"]
    first = evaluate(root, "varied", tmp_path / "kept", metrics=metrics, keep_reference=True)
    again = evaluate(
        root, "varied", tmp_path / "again", metrics=metrics, reference=str(tmp_path / "kept")
    )
    assert again["metrics"]["lpips_diversity"] == first["metrics"]["lpips_diversity"]
    assert again["metrics"]["kernel_pixels"]["value"] == pytest.approx(
        first["metrics"]["kernel_pixels"]["value"]
    )


def test_a_file_that_cannot_be_read_takes_its_pair_along(root: Path, tmp_path: Path) -> None:
    for label in CLASSES:
        (tmp_path / "folder" / label).mkdir(parents=True)
    for index, picture in enumerate(VARIED):
        folder = tmp_path / "folder" / CLASSES[LABELS[index]]
        (folder / f"{index:02d}.png").write_bytes(png(picture))
    reference = {"reference": str(tmp_path / "reference")}
    classed_reference(root, tmp_path / "reference")
    whole = evaluate(root, str(tmp_path / "folder"), tmp_path / "whole", **reference)
    assert whole["metrics"]["lpips_diversity"]["n"] == 12
    (tmp_path / "folder" / "two" / "01.png").write_bytes(b"no picture")
    broken = evaluate(root, str(tmp_path / "folder"), tmp_path / "broken", **reference)
    assert broken["num_images"] == NUM_IMAGES - 1
    assert broken["metrics"]["lpips_diversity"]["n"] == 11


def classed_reference(root: Path, uri: Path) -> None:
    """Prepared data whose test split has two pictures of a class."""
    from tests.helpers.measured import one_picture_reference

    from darkroom.jobs.pictures.shape import ImageShape

    picture = (root / "reference" / "00.png").read_bytes()
    one_picture_reference(uri, picture, ImageShape(SIDE, SIDE, 3), classes=CLASSES)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"networks": {}}, "networks.lpips is not given; set networks.lpips.weights to"),
        ({"limit": 3}, "no two pictures are known to show the same prompt or class"),
    ],
)
def test_what_cannot_be_measured_is_left_out_with_its_reason(
    changes: dict[str, Any], reason: str, root: Path, tmp_path: Path
) -> None:
    metrics = ["lpips_diversity", "kernel_pixels"]
    values = evaluate(root, "varied", tmp_path / "out", metrics=metrics, **changes)
    assert reason in values["skipped"]["lpips_diversity"]
    assert "kernel_pixels" in values["metrics"]

"""`evaluate` on real digits tells an honest model from a faulty one.

The "models" are real pictures: held-out digits are what a perfect model would draw, the same
under shuffled labels are a model that ignores its class, and training digits are one that
memorised them. The first test runs on a real Ray from S3 to S3, the others run the same stages in
this process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.measured import planned, seen
from tests.helpers.tiny_artifacts import (
    DIGITS,
    png,
    publish_digits,
    publish_samples,
    split_digits,
)

from darkroom.config import build_config
from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run
from darkroom.storage import Artifact, open_artifact, open_store

PIXELS_ONLY = {"metrics": ["frechet_pixels", "memorisation"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_digits(tmp_path_factory.mktemp("data"))


def evaluate(data: Artifact, source: str | Path, output: str | Path, **values: Any) -> Any:
    """Run the verb; returns what it published as metrics.json."""
    settings = {"num_bootstrap": 20, "num_floor_draws": 4, **values}
    config = build_config(
        EvaluateConfig,
        {"input": str(source), "reference": str(data.uri), "output": str(output), **settings},
    )
    result = run(config)
    artifact = open_artifact(str(output), kind="evaluation")
    assert result["digest"] == artifact.digest
    return artifact.read_json("metrics.json")


def test_a_perfect_model_scores_like_real_pictures(ray_local: None, bucket_uri: str) -> None:
    data = publish_digits(f"{bucket_uri}/data")
    samples = publish_samples(f"{bucket_uri}/samples", *split_digits("validation"))
    values = evaluate(data, f"{bucket_uri}/samples", f"{bucket_uri}/evaluation")
    metrics = values["metrics"]

    assert values["num_images"] == 180
    assert set(metrics) == {
        "frechet_pixels", "frechet_classifier", "kernel_pixels", "kernel_classifier",
        "class_accuracy", "memorisation",
    }  # fmt: skip
    for metric in metrics.values():
        assert metric["n"] == 180
        assert metric["lower"] <= metric["value"] <= metric["upper"]
        assert metric["floor"]["lower"] <= metric["floor"]["value"] <= metric["floor"]["upper"]
    for name in ("frechet_pixels", "frechet_classifier"):
        assert metrics[name]["floor"]["n"] == 180
        assert metrics[name]["biased"]
    for name in ("kernel_pixels", "kernel_classifier"):
        kernel = metrics[name]
        assert kernel["floor"]["n"] == 180
        assert kernel["details"]["subsets"]["size"] == 180
        error = kernel["details"]["standard_error"]
        assert abs(kernel["value"]) < 5 * error, "real pictures are near 0"
        assert "biased" not in kernel
    assert 0.7 < metrics["frechet_pixels"]["ratio"] < 1.4
    assert values["classifier"]["test_accuracy"] >= 0.98
    assert len(values["classifier"]["digest"]) == 64
    accuracy = metrics["class_accuracy"]
    assert accuracy["value"] > 0.95
    assert not accuracy["near_chance"]
    assert np.sum(accuracy["confusion"]) == sum(row["n"] for row in accuracy["per_class"]) == 180
    assert not metrics["memorisation"]["memorising"]
    assert 0.8 < metrics["memorisation"]["value"] < 1.2

    published = open_artifact(f"{bucket_uri}/evaluation")
    parents = {parent.role: parent.digest for parent in published.manifest.parents}
    assert parents == {"samples": samples.digest, "reference": data.digest}
    table = published.read_bytes("metrics.md").decode()
    assert "biased: N = 180 is small" in table
    assert published.read_bytes("confusion.svg").startswith(b"<svg")
    names = {entry.name for entry in published.manifest.files}
    assert names == {"classifier.safetensors", "confusion.svg", "metrics.json", "metrics.md"}
    assert values["classifier"]["digest"] == published.entry("classifier.safetensors").sha256
    keys = [info.key for info in open_store(f"{bucket_uri}/evaluation").list("attempts/")]
    assert len(keys) == len(names) + 1, "the features are gone; beside the files is run.json"


def test_a_label_shuffled_model_is_shown_up(here: None, data: Artifact, tmp_path: Path) -> None:
    images, labels = split_digits("validation")
    shuffled = np.random.default_rng(1).permutation(labels)
    publish_samples(tmp_path / "samples", images, shuffled)
    values = evaluate(
        data, tmp_path / "samples", tmp_path / "out", metrics=["class_accuracy", "frechet_pixels"]
    )
    accuracy = values["metrics"]["class_accuracy"]
    assert accuracy["chance"] == 0.1
    assert abs(accuracy["value"] - accuracy["chance"]) < 0.08
    assert accuracy["near_chance"]
    assert values["metrics"]["frechet_pixels"]["ratio"] < 1.4, "its pictures are as good as real"
    table = open_artifact(tmp_path / "out").read_bytes("metrics.md").decode()
    assert "NEAR CHANCE" in table


def test_a_model_that_returns_mirror_images_of_training_pictures_is_flagged(
    here: None, data: Artifact, tmp_path: Path
) -> None:
    images, labels = split_digits("train", 200)
    publish_samples(tmp_path / "samples", images[..., ::-1], labels)
    values = evaluate(data, tmp_path / "samples", tmp_path / "out", metrics=["memorisation"])
    memory = values["metrics"]["memorisation"]
    assert memory["memorising"]
    assert memory["details"]["copies_share"] == 1


@pytest.mark.parametrize("noise", [0, 2])
def test_a_model_that_returns_training_pictures_is_flagged(
    noise: int, here: None, data: Artifact, tmp_path: Path
) -> None:
    images, labels = split_digits("train", 200)
    random = np.random.default_rng(0)
    moved = images.astype(int) + random.integers(-noise, noise + 1, images.shape)
    publish_samples(tmp_path / "samples", moved.clip(0, 255).astype(np.uint8), labels)
    values = evaluate(data, tmp_path / "samples", tmp_path / "out", **PIXELS_ONLY)
    memory = values["metrics"]["memorisation"]
    assert memory["memorising"]
    assert memory["upper"] < 0.3
    assert memory["details"]["copies_share"] == (1 if noise == 0 else 0)
    assert values["metrics"]["frechet_pixels"]["ratio"] < 1.2, "which the distance does not see"


def test_a_folder_is_read_like_samples_its_subfolders_naming_the_classes(
    data: Artifact, tmp_path: Path
) -> None:
    images, labels = split_digits("validation", 40)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "folder" / DIGITS[label] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    publish_samples(tmp_path / "samples", images, labels)
    folder = seen(tmp_path / "folder", data.uri)
    table = seen(tmp_path / "samples", data.uri)
    by_class = np.argsort(labels, kind="stable")
    assert np.array_equal(folder.images, table.images[by_class])
    assert folder.labels == labels[by_class].tolist()
    parent = planned(tmp_path / "folder", data.uri).parents[0]
    assert (parent.role, parent.kind) == ("samples", "image_folder")
    (tmp_path / "folder" / "7" / "new.png").write_bytes(png(images[0]))
    assert planned(tmp_path / "folder", data.uri).parents[0].digest != parent.digest


def test_pictures_without_classes_get_the_other_metrics(
    here: None, data: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, image in enumerate(split_digits("validation")[0][:30]):
        (folder / f"{index:02d}.png").write_bytes(png(image))
    values = evaluate(
        data, folder, tmp_path / "out", metrics=["memorisation", "class_accuracy"], limit=25
    )
    assert set(values["metrics"]) == {"memorisation"}
    assert values["num_images"] == 25
    assert "which class was asked for" in values["skipped"]["class_accuracy"]
    assert "classifier" not in values


def test_the_same_evaluation_gives_the_same_figures(
    here: None, data: Artifact, tmp_path: Path
) -> None:
    publish_samples(tmp_path / "samples", *split_digits("validation", 50))
    first, again, other_pieces = (
        evaluate(data, tmp_path / "samples", tmp_path / name, **PIXELS_ONLY, **values)
        for name, values in (("a", {}), ("b", {}), ("c", {"piece_rows": 7}))
    )
    assert first == again == other_pieces


def test_a_finished_evaluation_is_kept_on_resume(
    here: None, data: Artifact, tmp_path: Path
) -> None:
    publish_samples(tmp_path / "samples", *split_digits("validation", 30))
    first = evaluate(data, tmp_path / "samples", tmp_path / "out", **PIXELS_ONLY)
    attempts = sorted((tmp_path / "out" / "attempts").iterdir())
    again = evaluate(
        data, tmp_path / "samples", tmp_path / "out", **PIXELS_ONLY, on_existing="resume"
    )
    assert json.dumps(first) == json.dumps(again)
    assert sorted((tmp_path / "out" / "attempts").iterdir()) == attempts


def _small(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros((3, 1, size, size), dtype=np.uint8)


def _wrong_size(folder: Path) -> Path:
    publish_samples(folder, _small(16), [0, 1, 2])
    return folder


def _unknown_class(folder: Path) -> Path:
    publish_samples(folder, _small(8), [0, 1, 2], classes=["0", "1", "cat"])
    return folder


def _a_dataset(folder: Path) -> Path:
    publish_digits(str(folder))
    return folder


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _broken(folder: Path) -> Path:
    folder.mkdir()
    (folder / "torn.png").write_bytes(png(_small(8)[0])[:40])
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_wrong_size, "16x16.*is not the 8x8 of the others"),
        (_unknown_class, "'cat', is a class that the reference does not have"),
        (_a_dataset, "is a published dataset, not samples"),
        (_empty, "neither published samples nor a folder of pictures"),
        (_broken, "torn.png.*cannot be read"),
    ],
)
def test_input_that_cannot_be_compared_is_named_and_nothing_is_written(
    make: Any, message: str, here: None, data: Artifact, tmp_path: Path
) -> None:
    source = make(tmp_path / "input")
    with pytest.raises(DarkroomError, match=message) as caught:
        evaluate(data, source, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(open_store(str(tmp_path / "out")).list()) == []


def test_files_that_cannot_be_used_are_counted_and_named(
    here: None, data: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, image in enumerate(split_digits("validation", 30)[0]):
        (folder / f"{index:02d}.png").write_bytes(png(image))
    (folder / "torn.png").write_bytes(png(_small(8)[0])[:40])
    values = evaluate(data, folder, tmp_path / "out", metrics=["memorisation"])
    assert values["num_images"] == 30
    assert values["dead_letters"] == {"truncated": 1}
    letters = open_artifact(tmp_path / "out").read_table("dead_letters/part-00000.parquet")
    assert letters["id"].to_pylist() == ["torn.png"]
    for index in range(4):
        (folder / f"torn-{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"5 of 35 rows .14.3%. cannot be used"):
        evaluate(data, folder, tmp_path / "again", metrics=["memorisation"], max_bad_share=0.1)

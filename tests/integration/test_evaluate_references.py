"""What `evaluate` takes as its reference: prepared data, a folder, or features kept earlier.

The stages run in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.feature_networks import save_timm
from tests.helpers.tiny_artifacts import png, publish_digits, publish_samples, split_digits

from darkroom.config import build_config
from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run
from darkroom.storage import Artifact, open_artifact, open_store

pytestmark = pytest.mark.usefixtures("here")

PIXELS = ["frechet_pixels", "kernel_pixels", "precision_pixels", "memorisation"]


def evaluate(source: object, reference: object, output: object, **values: Any) -> Mapping[str, Any]:
    """Run the verb; returns what it published as metrics.json."""
    settings = {"num_bootstrap": 20, "num_floor_draws": 2, "metrics": PIXELS, **values}
    places = {"input": str(source), "reference": str(reference), "output": str(output)}
    run(build_config(EvaluateConfig, {**places, **settings}))
    found: Mapping[str, Any] = open_artifact(str(output)).read_json("metrics.json")
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("references")
    publish_samples(folder / "samples", *split_digits("validation", 100))
    write_folder(folder / "folder", split_digits("test")[0])
    return publish_digits(folder / "data")


@pytest.fixture(scope="module")
def samples(data: Artifact) -> str:
    return str(data.uri).replace("/data", "/samples")


@pytest.fixture(scope="module")
def folder(data: Artifact) -> str:
    return str(data.uri).replace("/data", "/folder")


def write_folder(folder: Path, images: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        (folder / f"{index:04d}.png").write_bytes(png(image))
    return folder


def test_a_folder_is_a_reference_without_what_only_splits_can_give(
    data: Artifact, samples: str, folder: str, tmp_path: Path
) -> None:
    usual = evaluate(samples, folder, tmp_path / "usual", metrics=None)
    assert set(usual["metrics"]) == {"frechet_pixels", "kernel_pixels"}
    for name in ("frechet_classifier", "class_accuracy", "memorisation", "floors"):
        why = usual["skipped"][name]
        assert why.startswith("the reference is a folder, which has no training split")
        assert "\n" not in why
    assert usual["reference"]["num_train"] == 0
    assert usual["reference"]["num_test"] == 360
    table = open_artifact(tmp_path / "usual").read_bytes("metrics.md").decode()
    assert "floors: left out, the reference is a folder" in table

    names = list(usual["metrics"])
    of_data = evaluate(samples, data.uri, tmp_path / "data", metrics=names)
    for name in names:
        one, other = usual["metrics"][name], of_data["metrics"][name]
        assert "floor" not in one
        assert {key: one[key] for key in ("value", "lower", "upper", "n")} == {
            key: other[key] for key in ("value", "lower", "upper", "n")
        }, "the same pictures are the same reference"


def _small(folder: Path) -> Path:
    return write_folder(folder, np.zeros((3, 1, 9, 8), np.uint8))


def _two_sizes(folder: Path) -> Path:
    write_folder(folder, split_digits("test", 3)[0])
    (folder / "z.png").write_bytes(png(np.zeros((1, 16, 16), np.uint8)))
    return folder


def _torn(folder: Path) -> Path:
    write_folder(folder, split_digits("test", 3)[0])
    (folder / "z.png").write_bytes(png(split_digits("test", 1)[0][0])[:40])
    return folder


def _coloured(folder: Path) -> Path:
    write_folder(folder, split_digits("test", 3)[0])
    Image.new("RGB", (8, 8), "red").save(folder / "z.png")
    return folder


def _nothing(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_small, "8x8.*is not the 9x8 of the others"),
        (_two_sizes, r"16x16.*the size of .*reference/z\.png, is not the 8x8 of the others"),
        (_torn, r"reference/z\.png.*cannot be used \(truncated.*mend it, or take it away"),
        (_coloured, r"reference/z\.png.*is in colour, and the first picture is grey"),
        (_nothing, "neither prepared data nor a folder of pictures"),
    ],
)
def test_a_folder_that_is_no_sound_reference_is_refused_in_one_line(
    make: Any, message: str, samples: str, tmp_path: Path
) -> None:
    with pytest.raises(DarkroomError, match=message) as caught:
        evaluate(samples, make(tmp_path / "reference"), tmp_path / "out")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    with pytest.raises(DarkroomError, match="nothing is published"):
        open_artifact(tmp_path / "out")


def test_kept_features_give_the_figures_of_the_pictures(
    data: Artifact, samples: str, tmp_path: Path
) -> None:
    metrics = ["kernel_classifier", "class_accuracy", "memorisation"]
    settings: dict[str, Any] = {"metrics": metrics, "piece_rows": 100}
    first = evaluate(samples, data.uri, tmp_path / "first", keep_reference=True, **settings)
    again = evaluate(samples, tmp_path / "first", tmp_path / "again", **settings)
    assert again == first
    kept, found = open_artifact(tmp_path / "first"), open_artifact(tmp_path / "again")
    weights = "classifier.safetensors"
    assert kept.entry(weights).sha256 == found.entry(weights).sha256
    parents = {parent.role: parent.digest for parent in found.manifest.parents}
    assert parents["reference"] == kept.digest
    facts = kept.read_json("reference.json")
    assert (facts["num_train"], facts["num_test"], facts["content"]) == (
        1257, 360, data.content_digest,
    )  # fmt: skip
    assert not found.entries("reference"), "kept where it was asked for alone"
    assert list(open_store(str(tmp_path / "again")).list("attempts/")) != []


def test_what_was_not_kept_is_left_out_and_other_weights_are_refused(
    data: Artifact, samples: str, tmp_path: Path
) -> None:
    networks = {"timm": {"name": "resnet10t", "weights": str(save_timm(tmp_path / "timm.pth"))}}
    metrics = ["kernel_pixels", "kernel_timm"]
    evaluate(samples, data.uri, tmp_path / "pixels", keep_reference=True, metrics=metrics[:1])
    values = evaluate(
        samples, tmp_path / "pixels", tmp_path / "fewer", networks=networks, metrics=metrics
    )
    assert values["skipped"] == {"kernel_timm": "the reference kept no timm features"}
    with pytest.raises(DataError, match="an evaluation that did not keep its reference"):
        evaluate(samples, tmp_path / "fewer", tmp_path / "out")

    folder = write_folder(tmp_path / "few", split_digits("test", 12)[0])
    evaluate(
        samples, folder, tmp_path / "kept", networks=networks, metrics=["kernel_timm"],
        keep_reference=True, limit=8,
    )  # fmt: skip
    values = evaluate(
        samples, tmp_path / "kept", tmp_path / "of-kept", networks=networks, metrics=metrics,
        limit=8,
    )  # fmt: skip
    assert values["skipped"]["kernel_pixels"] == "the reference kept no pixels features"
    assert "has no training split" in values["skipped"]["floors"]
    other = {
        "timm": {"name": "resnet10t", "weights": str(save_timm(tmp_path / "b", num_classes=5))}
    }
    with pytest.raises(DataError, match=r"its timm features were made otherwise: weights .*") as it:
        evaluate(
            samples, tmp_path / "kept", tmp_path / "out", networks=other, metrics=["kernel_timm"]
        )
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"limit": 2, "metrics": ["kernel_pixels"]}, "input: got 2, is too few pictures for kern"),
        ({"limit": 4, "metrics": ["recall_pixels"], "num_neighbours": 4},
         "num_neighbours: got 4, is not below the 4 pictures of input"),
    ],
)  # fmt: skip
def test_too_few_pictures_are_refused_before_they_are_read(
    values: dict[str, Any], says: str, samples: str, data: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(DarkroomError, match=says):
        evaluate(samples, data.uri, tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()

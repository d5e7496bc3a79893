"""`darkroom classify` from pictures to published predictions, with real ImageNet weights.

The model is EfficientNet-Lite0 as its authors' wheel ships it; the photographs are scikit-image's
and scikit-learn's. Every kind of broken file stands between them. They run once on a real Ray;
prepared data run through the same stages in this process.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.batch_here import stages_here
from tests.helpers.imagenet import lite0_weights
from tests.helpers.pictures import broken_files, encoded, photograph, png_bomb
from tests.helpers.prepare_runs import prepare_here

from darkroom.config import build_config
from darkroom.errors import ConfigError, DarkroomError, DataError, UriError
from darkroom.jobs.artifacts.predictions import PredictionsInfo
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run
from darkroom.jobs.classify.model import OUTPUT_SCHEMA
from darkroom.storage import Artifact, open_artifact, open_store

OBVIOUS = {
    "cat/chelsea.png": ("chelsea", {"tabby, tabby cat", "tiger cat", "Egyptian cat"}),
    "espresso/coffee.webp": ("coffee", {"espresso"}),
    "palace/china.png": ("china", {"palace"}),
    "daisy/flower.png": ("flower", {"daisy"}),
    "missile/rocket.jpg": ("rocket", {"missile", "projectile, missile"}),
}
"""File -> photograph, and the labels that anybody would take for right."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lite0_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pictures(s3_module_uri: str) -> str:
    """The obvious ones, a flat file, and every kind of broken one, on S3."""
    store = open_store(s3_module_uri)
    for path, (name, _) in OBVIOUS.items():
        suffix = Path(path).suffix
        options = {} if suffix == ".png" else {"quality": 95}
        store.upload(encoded(photograph(name), FORMATS[suffix], **options), f"in/{path}")
    store.upload(encoded(photograph("coffee"), quality=90), "in/loose.jpg")
    for broken in broken_files():
        store.upload(broken.data, f"in/broken/{broken.name}")
    return f"{s3_module_uri}/in"


def config(pictures: str, output: str, weights: Path | str, **changes: Any) -> ClassifyConfig:
    values: dict[str, Any] = {
        "input": pictures,
        "output": output,
        "model": {
            "library": "timm",
            "name": "tf_efficientnet_lite0",
            "weights": str(weights),
        },
        # ImageNet has no cat, and two kinds of missile.
        "class_map": {
            "cat": ["tabby", "tiger cat", "Egyptian cat"],
            "missile": ["missile", "projectile, missile"],
        },
        "piece_rows": 8,
        "batch_size": 4,
        "max_bad_share": 0.9,
        "models": {"num_threads": 1},
        **changes,
    }
    return build_config(ClassifyConfig, values)


@pytest.fixture(scope="module")
def classified(ray_local: None, pictures: str, weights: Path, s3_module_uri: str) -> Artifact:
    result = run(config(pictures, f"{s3_module_uri}/predictions", weights, limit=1000))
    artifact = open_artifact(result["output"], kind="predictions")
    assert result["digest"] == artifact.digest
    return artifact


def rows(artifact: Artifact) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in artifact.entries("data/"):
        table = artifact.read_table(entry.name)
        assert table.schema.equals(OUTPUT_SCHEMA)
        found |= {row["id"]: row for row in table.to_pylist()}
    return found


def test_the_obvious_photographs_are_right(classified: Artifact) -> None:
    found = rows(classified)
    assert {path: found[path]["label"] in labels for path, (_, labels) in OBVIOUS.items()} == (
        dict.fromkeys(OBVIOUS, True)
    )
    espresso = found["espresso/coffee.webp"]
    assert espresso["confidence"] > 0.8
    assert espresso["top_labels"][0] == "espresso"
    assert len(espresso["top_labels"]) == len(espresso["top_probabilities"]) == 5
    assert espresso["top_probabilities"] == sorted(espresso["top_probabilities"], reverse=True)
    assert espresso["entropy"] < found["missile/rocket.jpg"]["entropy"]
    assert espresso["model"] == "tf_efficientnet_lite0"
    assert espresso["model_digest"] == PredictionsInfo.of(classified).model.digest
    assert found["loose.jpg"]["expected"] is None
    assert found["loose.jpg"]["label"] == "espresso"


def test_accuracy_and_confusion_where_classes_mean_labels(classified: Artifact) -> None:
    score = PredictionsInfo.of(classified).score
    assert score is not None
    assert (score.accuracy, score.num_scored) == (1.0, len(OBVIOUS))
    assert score.unmapped_classes == ("broken",)
    confusion = classified.read_table("confusion.parquet").to_pylist()
    assert [(row["expected"], row["predicted"], row["count"]) for row in confusion] == [
        (name, name, 1) for name in sorted(path.partition("/")[0] for path in OBVIOUS)
    ]


@pytest.mark.parametrize("broken", broken_files(), ids=lambda broken: broken.name)
def test_every_kind_of_broken_file_is_a_dead_letter_with_its_reason(
    broken: Any, classified: Artifact
) -> None:
    table = classified.read_table("dead_letters/part-00000.parquet")
    letters = {row["id"]: row for row in table.to_pylist()}
    letter = letters[f"broken/{broken.name}"]
    assert letter["reason"] == broken.reason
    assert letter["detail"]
    assert letter["stage"] == "decode"
    if broken.reason == "corrupt":
        assert len(letter["traceback"]) == 16
    assert f"broken/{broken.name}" not in rows(classified)


def test_no_row_is_lost_and_the_pictures_stay_where_they_are(classified: Artifact) -> None:
    info = PredictionsInfo.of(classified)
    assert info.num_rows == len(rows(classified)) == len(OBVIOUS) + 1
    assert info.num_rejected == len(broken_files())
    assert not any("image" in name or "pixel" in name for name in OUTPUT_SCHEMA.names)
    assert sum(entry.size for entry in classified.entries("data/")) < 100_000
    assert info.figures is not None
    assert info.figures["bottleneck"] in {"read", "decode", "model", "write"}


def test_the_page_shows_predictions_beside_thumbnails(classified: Artifact) -> None:
    page = classified.read_bytes("predictions.html").decode()
    assert page.count("data:image/png;base64,") == len(OBVIOUS) + 1
    assert "espresso/coffee.webp" in page
    assert "espresso 0." in page
    assert "bit-flip.png" in page
    assert "<script" not in page


def test_the_probabilities_are_the_plain_models(
    classified: Artifact, weights: Path, pictures: str
) -> None:
    """Against timm's own pipeline, picture by picture."""
    import timm
    from PIL import Image
    from safetensors.torch import load_file
    from timm.data import create_transform, resolve_data_config

    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(load_file(weights))
    model.eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    found = rows(classified)
    for path in OBVIOUS:
        with Image.open(io.BytesIO(open_store(pictures).get(path))) as image:
            x = transform(image.convert("RGB"))[None]
        with torch.inference_mode():
            probabilities = model(x).softmax(-1)[0]
        top = probabilities.topk(5)
        assert found[path]["top_probabilities"] == pytest.approx(top.values.tolist(), abs=2e-4)


WRONG: dict[str, tuple[dict[str, Any], type[DarkroomError], str]] = {
    "no such model": ({"model": {"name": "resnet_152"}}, ConfigError, "did you mean resnet152"),
    "no such weights": (
        {"model": {"library": "timm", "name": "resnet18", "weights": "/nowhere/w.pth"}},
        ConfigError,
        "there is no such file",
    ),
    "no pictures": ({"input": "{here}/nothing"}, DataError, "holds no pictures"),
    "inside the input": ({"output": "{pictures}/out"}, UriError, "lies inside the input"),
    "a class that is not there": ({"class_map": {"cats": ["tabby"]}}, ConfigError, "'cat'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_user_can_fix_is_one_line_and_nothing_is_written(
    name: str, pictures: str, bucket_uri: str, weights: Path, tmp_path: Path
) -> None:
    changes, error_type, message = WRONG[name]
    filled = {
        field: value.format(here=tmp_path, pictures=pictures) if isinstance(value, str) else value
        for field, value in changes.items()
    }
    output = filled.pop("output", bucket_uri)
    source = filled.pop("input", pictures)
    with pytest.raises(error_type, match=message) as caught:
        run(config(source, output, weights, **filled))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert list(open_store(bucket_uri).list()) == []


def test_resnet_152_at_full_size_on_prepared_data(bucket_uri: str) -> None:
    """With random weights: the path, and that the dataset's classes and ids arrive."""
    from darkroom.jobs.prepare.config import ImageFolderSource, PrepareConfig
    from darkroom.jobs.prepare.job import run as prepare

    store = open_store(bucket_uri)
    for name in ("chelsea", "coffee"):
        store.upload(encoded(photograph(name)), f"in/espresso/{name}.jpg")
    source = ImageFolderSource(uri=f"{bucket_uri}/in")
    with prepare_here():
        prepare(PrepareConfig(source=source, output=f"{bucket_uri}/data"))
    settings = config(
        f"{bucket_uri}/data",
        f"{bucket_uri}/out",
        "random",
        model={"library": "torchvision", "name": "resnet152", "weights": "random"},
        class_map={},
    )
    with stages_here():
        result = run(settings)
    artifact = open_artifact(f"{bucket_uri}/out")
    found = rows(artifact)
    assert sorted(found) == ["espresso/chelsea.jpg", "espresso/coffee.jpg"]
    assert {row["expected"] for row in found.values()} == {"espresso"}
    assert result["num_scored"] == 2
    roles = {parent.role: parent for parent in artifact.manifest.parents}
    assert roles["data"].digest == open_artifact(f"{bucket_uri}/data").digest
    assert roles["model"].digest == result["model"]["digest"]


def test_a_bomb_is_refused_by_its_header(classified: Artifact) -> None:
    """400 million pixels would be over a gigabyte of RGB."""
    assert len(png_bomb()) < 1_000_000
    letters = classified.read_table("dead_letters/part-00000.parquet").to_pylist()
    detail = next(row["detail"] for row in letters if row["id"] == "broken/bomb.png")
    assert "20000 x 20000" in detail or "400000000 pixels" in detail

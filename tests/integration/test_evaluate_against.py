"""`evaluate --against`: two sets of pictures, the difference of their figures, and a gate on it.

The stages run in this process. The sets are real digits, and the same with noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.helpers.tiny_artifacts import publish_digits, publish_samples, split_digits

from darkroom.cli import main
from darkroom.storage import Artifact, open_artifact, open_store

METRICS = ("kernel_pixels", "frechet_pixels", "recall_pixels", "memorisation")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("against")
    images, labels = split_digits("validation", 120)
    publish_samples(folder / "clean", images, labels)
    publish_samples(folder / "noisy", noised(images), labels)
    publish_samples(folder / "fewer", noised(images)[:90], labels[:90])
    return publish_digits(folder / "data")


def noised(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 40, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def run(here: None, data: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def command(one: str, other: str | None, *require: str, name: str = "out") -> Any:
        place = str(data.uri).removesuffix("data")
        arguments = [
            "evaluate", "--input", place + one, "--reference", str(data.uri),
            "--output", str(tmp_path / name), "--set", "num_bootstrap=40",
            "--set", f"metrics={list(METRICS)}".replace("'", '"'), "--set", "num_floor_draws=2",
            *(["--against", place + other] if other else []),
        ]  # fmt: skip
        for text in require:
            arguments += ["--require", text]
        return main(arguments), capfd.readouterr().err

    return command


def test_the_difference_of_two_sets_has_an_interval_and_a_gate_can_name_it(
    run: Any, tmp_path: Path
) -> None:
    code, err = run("clean", "noisy", "kid_pixels<against", "recall_pixels>against-0.1")
    assert code == 0, err
    artifact = open_artifact(tmp_path / "out")
    values = artifact.read_json("metrics.json")
    second = values["against"]
    assert second["is_paired"]
    assert set(second["metrics"]) == set(second["differences"]) == set(METRICS)
    for name, difference in second["differences"].items():
        figure = values["metrics"][name]["value"] - second["metrics"][name]["value"]
        assert difference["value"] == pytest.approx(figure)
        assert difference["lower"] <= difference["value"] <= difference["upper"]
        assert difference["n"] == 120
    for name in ("kernel_pixels", "frechet_pixels"):
        assert second["differences"][name]["better"] == "this"
        assert second["differences"][name]["upper"] < 0
    assert "better" not in second["differences"]["memorisation"]
    assert [verdict["requirement"] for verdict in values["verdicts"]] == [
        "kernel_pixels<against", "recall_pixels>against-0.1",
    ]  # fmt: skip
    roles = {parent.role for parent in artifact.manifest.parents}
    assert roles == {"samples", "against", "reference"}
    table = artifact.read_bytes("metrics.md").decode()
    assert "## Against 120 pictures of a second set" in table
    assert "Picture by picture" in table

    code, err = run("noisy", "clean", "kid_pixels<against", name="worse")
    assert code == 3
    assert "kernel_pixels<against is not met (difference" in err.splitlines()[-1]


def test_a_set_does_not_differ_from_itself(run: Any, tmp_path: Path) -> None:
    code, err = run("clean", "clean")
    assert code == 0, err
    for difference in (
        open_artifact(tmp_path / "out").read_json("metrics.json")["against"]["differences"].values()
    ):
        ends = [difference[name] for name in ("value", "lower", "upper")]
        assert ends == pytest.approx([0, 0, 0], abs=1e-9)


def test_sets_of_other_pictures_are_two_samples(run: Any, tmp_path: Path) -> None:
    code, err = run("clean", "fewer")
    assert code == 0, err
    artifact = open_artifact(tmp_path / "out")
    second = artifact.read_json("metrics.json")["against"]
    assert not second["is_paired"]
    assert second["num_images"] == 90
    assert "that of two samples" in artifact.read_bytes("metrics.md").decode()


@pytest.mark.parametrize(
    ("other", "require", "message"),
    [
        (None, "kid_pixels<against", "there is no second set to compare with"),
        ("noisy", "kid_pixels<against0.1", "compares with 'against0.1', which is no number"),
        ("fewer", "recall_pixels>against", "moves with the number of pictures: 120 here, 90 there"),
        ("data", "kid_pixels<against", "against: .*is a published dataset, not samples"),
    ],
)
def test_what_cannot_be_compared_ends_with_2_and_nothing_is_written(
    other: str | None, require: str, message: str, run: Any, tmp_path: Path
) -> None:
    import re

    code, err = run("clean", other, require)
    assert code == 2
    assert re.search(message, err.splitlines()[-1])
    assert list(open_store(str(tmp_path / "out")).list()) == []

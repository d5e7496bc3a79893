"""The gate of `evaluate` by its command: what a pipeline sees is the exit code.

The stages run in this process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny_artifacts import publish_digits, publish_samples, split_digits

from darkroom.cli import main
from darkroom.storage import Artifact, open_artifact, open_store


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("gate")
    publish_samples(folder / "samples", *split_digits("validation"))
    return publish_digits(folder / "data")


@pytest.fixture
def run(here: None, data: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def command(*require: str, settings: tuple[str, ...] = (), resume: bool = False) -> Any:
        arguments = [
            "evaluate", "--input", str(data.uri).replace("data", "samples"), "--reference",
            str(data.uri), "--output", str(tmp_path / "out"), "--set", "num_bootstrap=20",
            "--set", 'metrics=["kernel_pixels","frechet_pixels"]', "--set", "num_floor_draws=2",
        ]  # fmt: skip
        for text in require:
            arguments += ["--require", text]
        for text in settings:
            arguments += ["--set", text]
        code = main([*arguments, *(["--resume"] if resume else [])])
        return code, capfd.readouterr().err

    return command


def test_a_model_that_is_good_enough_passes(run: Any, tmp_path: Path) -> None:
    code, err = run("kid_pixels<0.5")
    assert code == 0, err
    values = open_artifact(tmp_path / "out").read_json("metrics.json")
    (verdict,) = values["verdicts"]
    assert verdict["requirement"] == "kernel_pixels<0.5"
    assert verdict["met"]
    assert verdict["judged"] == values["metrics"]["kernel_pixels"]["upper"]


def test_a_model_that_is_not_ends_with_3_and_is_published_with_the_verdict(
    run: Any, tmp_path: Path
) -> None:
    code, err = run("kid_pixels<0.5", "kid_pixels>0.4")
    assert code == 3
    assert "is published and does not pass: kernel_pixels>0.4 is not met" in err.splitlines()[-1]
    artifact = open_artifact(tmp_path / "out")
    met = [verdict["met"] for verdict in artifact.read_json("metrics.json")["verdicts"]]
    assert met == [True, False]
    assert "Required kernel_pixels>0.4: NOT MET" in artifact.read_bytes("metrics.md").decode()
    code, _ = run("kid_pixels<0.5", "kid_pixels>0.4", resume=True)
    assert code == 3, "the same again"


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("kid_pixel<1", "did you mean 'kid_pixels'"),
        ("fid_pixels<1", "a Frechet distance of 180 pictures is mostly their number"),
        ("clip_score>28", "clip_score is not measured"),
    ],
)
def test_what_cannot_be_judged_ends_with_2_and_nothing_is_written(
    require: str, message: str, run: Any, tmp_path: Path
) -> None:
    code, err = run(require)
    assert code == 2
    assert message in err
    assert list(open_store(str(tmp_path / "out")).list()) == []

"""`report` puts real artifacts on one page that shows all of a run and needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.batch_here import stages_here
from tests.helpers.tiny_artifacts import (
    publish_digits,
    publish_model,
    publish_samples,
    split_digits,
    tiny_unet,
)

from darkroom.config import build_config
from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.artifacts.model import Goodput
from darkroom.jobs.evaluate import job as evaluate_job
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.report.job import run
from darkroom.jobs.training.goodput import PARTS, Attempt, Seconds, summary
from darkroom.storage import Artifact, Parent, open_artifact

SOURCE = Parent("source", "builtin:digits", "5" * 64, "digits")
LOG = [
    {
        "step": step,
        "loss": 1 / step,
        "validation_loss": 1.1 / step if step % 10 == 0 else None,
        "learning_rate": 1e-3,
        "grad_norm": 0.5,
        "images_per_second": 900.0,
    }
    for step in range(1, 41)
]


def _account() -> Goodput:
    """A run that was killed 5 steps after its checkpoint of step 10 and went on to step 20."""

    def parts(**seconds: float) -> Seconds:
        return {part: seconds.get(part, 0.0) for part in PARTS}

    killed = Attempt(
        "a", 0, 30, 1, last_step=15, ending="killed", seconds=parts(startup=5, useful=15, lost=10)
    )
    rest = parts(startup=15, redone=18, useful=5, checkpoint=2)
    return summary([killed, Attempt("b", 30, 70, 1, 10, 20, "completed", rest)])


ACCOUNT = _account()


@dataclass(frozen=True)
class Run:
    """What a run left behind, each at its URI."""

    data: Artifact
    model: Artifact
    samples: Artifact
    evaluation: Artifact


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("run")
    data = publish_digits(root / "data", parents=[SOURCE])
    model = publish_model(
        root / "model", parents=[data.as_parent("data")], log=LOG, seconds=133.0, account=ACCOUNT
    )
    images, labels = split_digits("validation", 100)
    samples = publish_samples(
        root / "samples", images, labels, parents=[model.as_parent("model")],
        strip_timesteps=[99, 49, None],
    )  # fmt: skip
    config = build_config(
        EvaluateConfig,
        {
            "input": str(samples.uri), "reference": str(data.uri),
            "output": str(root / "evaluation"), "num_bootstrap": 20, "num_floor_draws": 2,
        },
    )  # fmt: skip
    with stages_here():
        evaluate_job.run(config)
    return Run(data, model, samples, open_artifact(root / "evaluation"))


def report(output: str | Path, model: Artifact, **values: Any) -> tuple[Mapping[str, Any], str]:
    """Run the verb; its result and the page."""
    plain = {name: str(getattr(value, "uri", value)) for name, value in values.items()}
    config = build_config(ReportConfig, {"input": str(model.uri), "output": str(output), **plain})
    result = run(config)
    return result, open_artifact(output, kind="report").read_bytes("report.html").decode()


def measured(model: Artifact, data: Artifact, output: Path) -> Artifact:
    """An evaluation of pictures that the model draws."""
    values = {
        "input": str(model.uri), "reference": str(data.uri), "output": str(output),
        "metrics": ["kernel_pixels"], "num_bootstrap": 20, "num_floor_draws": 2,
        "sample": {"num_images": 4, "num_steps": 2},
    }  # fmt: skip
    with stages_here():
        evaluate_job.run(build_config(EvaluateConfig, values))
    return open_artifact(output)


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_page_shows_everything_of_a_run(finished: Run, bucket_uri: str) -> None:
    result, page = report(
        f"{bucket_uri}/report", finished.model, samples=finished.samples,
        evaluation=finished.evaluation, title="Digits & more",
    )  # fmt: skip
    assert headings(page) == [
        "Pictures", "Measures", "Training", "Goodput", "Forward process", "Reverse process",
        "Settings", "Provenance",
    ]  # fmt: skip
    assert "<h1>Digits &amp; more</h1>" in page

    for said in (
        "28.6% of 70 worker-seconds", "in 2 attempts; 5 steps had to be done again",
        "killed", "completed", "lost to faults", "redone steps", "attempt 2",
        "Kernel distance (KID), pixels, to the test pictures",
    ):  # fmt: skip
        assert said in page

    for schedule in ("cosine (this run)", "linear", "sigmoid"):
        assert schedule in page
    for curve in ("Loss", "validation (fixed noise)", "Learning rate", "Gradient norm", "images/s"):
        assert curve in page
    assert page.count('alt="8 pictures, real (training data), class ') == 10
    assert page.count(" pictures, generated, class ") == 10
    for frame in ("0 at t = 99", "0 at t = 49", "0 at picture"):
        assert f'alt="{frame}"' in page

    values = finished.evaluation.read_json("metrics.json")
    accuracy = values["metrics"]["class_accuracy"]
    for text in (
        f"{accuracy['value']:.1%}",
        f"{accuracy['lower']:.1%} to {accuracy['upper']:.1%}",
        "biased: N = 100 is small",
        "not memorising",
        values["classifier"]["digest"][:12],
    ):
        assert text in page
    for artifact in (finished.data, finished.model, finished.samples, finished.evaluation):
        assert artifact.digest in page
        assert str(artifact.uri) in page
    assert SOURCE.digest in page
    assert "&#34;num_bootstrap&#34;: 20" in page or '"num_bootstrap": 20' in page

    published = open_artifact(f"{bucket_uri}/report")
    assert result["digest"] == published.digest
    assert json.loads(published.read_bytes("metrics.json")) == values
    roles = {parent.role: parent.digest for parent in published.manifest.parents}
    assert roles == {
        "model": finished.model.digest,
        "data": finished.data.digest,
        "samples": finished.samples.digest,
        "evaluation": finished.evaluation.digest,
    }


def test_the_page_needs_nothing_from_outside(finished: Run, tmp_path: Path) -> None:
    _, page = report(tmp_path / "report", finished.model, samples=finished.samples)
    links = re.findall(r'(?:src|href|srcset|data|action|poster)="([^"]*)"', page)
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert not re.findall(r"@import|url\((?!#)|<script|<link|<iframe", page)
    outside = set(re.findall(r"https?://[^\"' )<]+", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_a_model_alone_gives_a_page_without_the_missing_parts(
    finished: Run, tmp_path: Path
) -> None:
    _, page = report(tmp_path / "pages" / "report", finished.model)
    assert headings(page) == [
        "Pictures", "Training", "Goodput", "Forward process", "Settings", "Provenance"
    ]  # fmt: skip
    assert "generated, class" not in page
    assert "<h1>report</h1>" in page


def test_data_that_is_gone_or_new_is_not_shown(tmp_path: Path) -> None:
    data = publish_digits(tmp_path / "data")
    model = publish_model(tmp_path / "model", parents=[data.as_parent("data")])
    shutil.rmtree(tmp_path / "data")
    _, page = report(tmp_path / "gone", model)
    assert "Pictures" not in headings(page)
    assert "Goodput" not in headings(page), "this model has no account"
    publish_digits(tmp_path / "data", parents=[SOURCE])
    _, page = report(tmp_path / "new", model)
    assert "Pictures" not in headings(page)
    assert "changed since" in page


def test_parts_of_two_runs_are_refused(finished: Run, tmp_path: Path) -> None:
    other = publish_model(tmp_path / "model", parents=[finished.data.as_parent("data")], log=LOG)
    with pytest.raises(DataError, match=r"samples: .*was made from") as caught:
        report(tmp_path / "out", other, samples=finished.samples)
    assert finished.model.digest[:12] in str(caught.value)
    strange = publish_samples(
        tmp_path / "strange", *split_digits("test", 3),
        parents=[finished.model.as_parent("model")],
    )  # fmt: skip
    with pytest.raises(DataError, match=r"evaluation: .*was made from"):
        report(tmp_path / "out", finished.model, samples=strange, evaluation=finished.evaluation)
    mine = measured(finished.model, finished.data, tmp_path / "mine")
    with pytest.raises(DataError, match=r"evaluation: .*is of pictures that another model drew"):
        report(
            tmp_path / "out", publish_model(tmp_path / "big", tiny_unet(seed=1)), evaluation=mine
        )
    elsewhere = publish_digits(tmp_path / "data")
    with pytest.raises(DataError, match=r"input: .*was made from"):
        report(tmp_path / "out", finished.model, data=elsewhere)
    assert not (tmp_path / "out").exists()


def test_an_evaluation_of_the_model_itself_needs_no_samples(finished: Run, tmp_path: Path) -> None:
    mine = measured(finished.model, finished.data, tmp_path / "mine")
    _, page = report(tmp_path / "out", finished.model, evaluation=mine)
    assert "Measures" in headings(page)


def test_limit_shows_fewer_pictures(finished: Run, tmp_path: Path) -> None:
    config = build_config(
        ReportConfig,
        {"input": str(finished.model.uri), "output": str(tmp_path / "out"), "limit": 2},
    )
    run(config)
    page = open_artifact(tmp_path / "out").read_bytes("report.html").decode()
    assert page.count('alt="2 pictures, real (training data), class ') == 10


def test_what_is_no_model_is_refused(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match="holds a dataset"):
        report(tmp_path / "out", finished.data)

"""`report` of evaluations alone: a sweep in one table and one plot; what may not be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darkroom.cli import main
from darkroom.config import JobConfig, build_config
from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts.evaluation import (
    METRICS_FILE,
    DrawnFacts,
    Evaluation,
    EvaluationInfo,
    ExtractorFacts,
    Metric,
    ReferenceFacts,
)
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.report.job import run
from darkroom.storage import open_artifact, open_output

INCEPTION = ExtractorFacts(digest="1" * 64, resize="bilinear", precision="float32")


def figure(value: float, *, n: int = 500, features: str = "1" * 64) -> Metric:
    return Metric(
        value=value, n=n, lower=0.9 * value, upper=1.1 * value, floor=None, features=features
    )


def publish(folder: Path, *, guidance: float = 1.0, steps: int = 20, **values: Any) -> str:
    """An evaluation as `evaluate` publishes it, of figures that are given."""
    n, reference = values.pop("n", 500), values.pop("reference", "b" * 64)
    metrics = {
        "kernel_inception": figure(0.01 * guidance, n=n),
        "clip_score": figure(25.0 + guidance, n=n),
        **values.pop("metrics", {}),
    }
    fields: dict[str, Any] = {
        "num_images": n, "content": f"{guidance}-{steps}", "dead_letters": {}, "confidence": 0.95,
        "reference": ReferenceFacts(content=reference, num_train=0, num_test=300),
        "metrics": metrics, "skipped": {}, "extractors": {"inception": INCEPTION},
        "drawn": DrawnFacts(
            model="a" * 64, num_steps=steps, guidance_scale=guidance, seed=0, sampler="ddim"
        ),
        "prompts": "p",
    }  # fmt: skip
    evaluation = Evaluation(**{**fields, **values})
    uri = str(folder)
    with open_output(uri, kind="evaluation", config=JobConfig(output=f"file://{uri}")) as output:
        info = EvaluationInfo(
            num_rows=n, num_rejected=0, rejected={}, piece_rows=256, figures=None, num_images=n,
            reference=reference, metrics={}, classifier=None, skipped={},
        )  # fmt: skip
        file = output.writer.write_bytes(METRICS_FILE, evaluation.to_json())
        output.publish([file], metadata=info.to_metadata())
    return uri


def report(output: Path, first: str, *beside: str, **values: Any) -> Any:
    config = {"input": first, "beside": list(beside), "output": str(output), **values}
    run(build_config(ReportConfig, config))
    return open_artifact(output, kind="report")


def test_a_sweep_is_one_table_and_one_plot(tmp_path: Path) -> None:
    uris = [
        publish(tmp_path / f"g{guidance:g}-s{steps}", guidance=guidance, steps=steps)
        for steps in (20, 50)
        for guidance in (1.0, 3.0, 7.5)
    ]
    artifact = report(tmp_path / "report", *uris, title="A sweep")
    page = artifact.read_bytes("report.html").decode()
    assert "<h1>A sweep</h1>" in page
    assert "Side by side" in page
    assert "CLIP score" in page
    assert "6 evaluations of model aaaaaaaaaaaa, against 300 real pictures." in page
    assert "Lowest: Kernel distance (KID), Inception" in page
    assert "beside each point its guidance" in page
    svg = artifact.read_bytes("comparison.svg").decode()
    assert svg.startswith("<svg")
    for said in ("steps 20", "steps 50", "7.5"):
        assert said in svg, "a line for each number of steps, a label for each guidance scale"
    table = artifact.read_bytes("comparison.md").decode()
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert lines[0].startswith("| evaluation | steps | guidance | Kernel distance (KID), Inception")
    assert lines[2].startswith("| g1-s20 | 20 | 1 | 0.0100 [0.00900 to 0.0110] |")
    assert len(lines) == 8
    values = artifact.read_json("comparison.json")
    assert [row["guidance_scale"] for row in values["evaluations"]] == [1, 3, 7.5] * 2
    assert values["evaluations"][0]["metrics"]["clip_score"]["value"] == 26
    assert {parent.role for parent in artifact.manifest.parents} == {"evaluation"}
    assert len(artifact.manifest.parents) == 6


def test_sets_of_which_nothing_is_known_go_by_the_names_of_their_evaluations(
    tmp_path: Path,
) -> None:
    uris = [publish(tmp_path / name, drawn=None, content=name) for name in ("mine", "theirs")]
    artifact = report(tmp_path / "report", *uris)
    svg = artifact.read_bytes("comparison.svg").decode()
    assert "mine" in svg
    assert "theirs" in svg


def test_figures_that_only_some_have_leave_the_others_cells_empty(tmp_path: Path) -> None:
    first = publish(tmp_path / "a", metrics={"coverage_inception": figure(0.5)})
    second = publish(tmp_path / "b", guidance=2.0)
    table = report(tmp_path / "report", first, second).read_bytes("comparison.md").decode()
    assert "| 0.500 [0.450 to 0.550] |" in table
    assert table.splitlines()[5].endswith("|  |")


def test_one_evaluation_has_a_page_of_its_own(tmp_path: Path) -> None:
    artifact = report(tmp_path / "report", publish(tmp_path / "one"))
    page = artifact.read_bytes("report.html").decode()
    assert "Measures" in page
    assert "there is no training split, and so no floor" in page
    assert [entry.name for entry in artifact.manifest.files] == ["report.html"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reference": "c" * 64}, r"against other real pictures \(cccccccccccc\) than"),
        ({"confidence": 0.9}, "has intervals of 90%, unlike"),
        ({"prompts": "q"}, "has a clip_score of other prompts than .*draw both by one list"),
        (
            {"extractors": {"inception": ExtractorFacts(
                digest="1" * 64, resize="bicubic", precision="float32")}},
            "has a kernel_inception by other features than",
        ),
        (
            {"metrics": {"kernel_inception": figure(1, features="2" * 64)}},
            "has a kernel_inception by other features than",
        ),
        (
            {"n": 400, "metrics": {"recall_inception": figure(0.5, n=400)}},
            "recall_inception of 400 pictures, which moves with their number: not the 500 of",
        ),
    ],
)  # fmt: skip
def test_what_may_not_be_compared_is_refused_in_one_line(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    first = publish(tmp_path / "first", metrics={"recall_inception": figure(0.5)})
    second = publish(tmp_path / "second", guidance=2.0, **values)
    with pytest.raises(DataError, match=f"^beside: .*second.*{message}") as caught:
        report(tmp_path / "report", first, second)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report" / "manifest.json").exists()


def test_an_evaluation_is_named_once_and_beside_others_alone(tmp_path: Path) -> None:
    one = publish(tmp_path / "one")
    with pytest.raises(DataError, match="is the same evaluation as"):
        report(tmp_path / "report", one, one)
    with pytest.raises(ConfigError, match=r"data: .* does not belong to a report about eval"):
        report(tmp_path / "report", one, data="/data")
    assert main(["report", "--input", one, "--beside", one, "--output", "/x"]) == 2

"""Studies of real runs, in this process; on Ray: tests/runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tune_runs import RUN, SPACE, study_config, trials_of

from darkroom.config import JobConfig, build_config
from darkroom.config_source import read_file
from darkroom.errors import ConfigError, DataError, OutputExistsError, TrainingError
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.artifacts.study import StudyInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.tune.job import run
from darkroom.jobs.tune.trial import Errand, run_errand
from darkroom.storage import lineage, open_artifact, open_output


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/digits-tune"
    publish_digits(uri)
    return uri


@pytest.fixture(scope="module")
def tuned(data: str, s3_module_uri: str) -> tuple[Any, dict[str, Any]]:
    config = study_config(
        data, f"{s3_module_uri}/study", confirm=1,
        halving={"first_rung": 4, "reduction_factor": 2},
    )  # fmt: skip
    return config, run(config)


def test_a_study_publishes_its_best_config_its_trials_and_its_page(
    tuned: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    config, result = tuned
    study = open_artifact(config.output, kind="study")
    info = StudyInfo.of(study)
    table = study.read_table("trials.parquet").to_pylist()
    assert [row["number"] for row in table] == [0, 1, 2, 3]
    assert sum(info.num_trials.values()) == 4
    best = table[info.best_trial]
    assert best["validation_loss"] == info.best_value == result["validation_loss"]
    values = [row["validation_loss"] for row in table if row["validation_loss"] is not None]
    assert info.best_value == min(values)
    (tmp_path / "best.yaml").write_bytes(study.read_bytes("best.yaml"))
    settings = read_file(tmp_path / "best.yaml", TrainConfig)
    again = build_config(TrainConfig, {**settings, "input": config.input, "output": "/x"})
    assert again.optimizer.learning_rate == best["optimizer.learning_rate"]
    assert again.digest == open_artifact(f"{config.output}/{best['run']}").manifest.config_digest
    assert all(row["worker_seconds"] > 0 for row in table)
    assert info.worker_seconds > sum(row["worker_seconds"] for row in table)
    assert info.confirmed is not None
    assert info.untuned is not None
    assert info.confirmed.seeds == info.untuned.seeds == (1,)
    page = study.read_bytes("study.html").decode()
    for text in ("Parallel coordinates", "Optimisation history", "With further seeds", "Cost"):
        assert text in page
    assert lineage(study.uri).ok


def test_the_same_command_keeps_it_and_another_space_is_refused(
    tuned: tuple[Any, dict[str, Any]], data: str
) -> None:
    config, result = tuned
    with pytest.raises(OutputExistsError, match="--resume"):
        run(config)
    assert run(config.model_copy(update={"on_existing": "resume"}))["digest"] == result["digest"]
    rate = {**SPACE["optimizer.learning_rate"], "high": 1.0}
    for space in (
        {**SPACE, "optimizer.learning_rate": rate},
        {"optimizer.learning_rate": SPACE["optimizer.learning_rate"]},
        {**SPACE, "ema.decay": {"kind": "choice", "values": [0.5]}},
    ):
        changed = study_config(data, config.output, space=space, on_existing="resume")
        with pytest.raises(ConfigError, match=r"^space\..* was begun with another space; use the"):
            run(changed)


def test_a_trial_that_fails_is_recorded_and_a_study_of_failures_says_why(
    data: str, bucket_uri: str
) -> None:
    config = study_config(
        data, bucket_uri, search={"kind": "grid"},
        run={**RUN, "optimizer": {"max_grad_norm": None}, "lr_schedule": {"warmup_steps": 0}},
        space={"optimizer.learning_rate": {"kind": "choice", "values": [1e30]}},
    )  # fmt: skip
    with pytest.raises(TrainingError, match="no trial came to its end; the last one: the loss or"):
        run(config)
    (trial,) = trials_of(config)
    assert trial.ending.state == "failed"
    assert "became NaN or infinite" in trial.ending.error
    with pytest.raises(TrainingError, match="no trial came to its end"):
        run(config)
    assert trials_of(config)[0].num_starts == 1, "it is not tried again"


def test_data_without_validation_are_refused(bucket_uri: str, tmp_path: Path) -> None:
    info = DatasetInfo(
        num_rows=3, num_rejected=0, rejected={}, piece_rows=3, figures=None, classes=("a",),
        split_rows={"train": 3}, image_size=(8, 8), channels=1, num_skipped={}, source={},
    )  # fmt: skip
    config = JobConfig(output=bucket_uri)
    with open_output(bucket_uri, kind="dataset", config=config) as output:
        output.publish([], metadata=info.to_metadata())
    with pytest.raises(DataError, match="has no validation split"):
        run(study_config(bucket_uri, str(tmp_path / "study")))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"halving": {"first_rung": 99}}, r"halving\.first_rung: got 99, leaves nothing of"),
        ({"search": {"kind": "grid"}}, r"space\.optimizer\.learning_rate\.points: is required"),
    ],
)
def test_what_no_study_can_be_made_of_begins_none(
    changes: dict[str, Any], says: str, data: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        run(study_config(data, str(tmp_path / "study"), **changes))
    assert not (tmp_path / "study").exists()


@pytest.mark.usefixtures("here")
def test_a_figure_of_pictures_is_that_of_evaluate(data: str, bucket_uri: str) -> None:
    config = study_config(
        data, bucket_uri,
        objective={
            "name": "class_accuracy", "sample": {"num_images": 20, "num_steps": 2},
            "evaluate": {"num_bootstrap": 20, "num_floor_draws": 1},
        },
    )  # fmt: skip
    errand = Errand.trial(0, {"optimizer.learning_rate": 1e-3})
    ending = run_errand(config, errand, lambda _step, _loss: None)
    assert ending.state == "complete", ending.error
    found = Evaluation.of(open_artifact(f"{bucket_uri}/measured/trials-0/evaluation"))
    assert ending.value == found.metrics["class_accuracy"].value
    drawn = open_artifact(f"{bucket_uri}/measured/trials-0/samples")
    assert drawn.manifest.parents[0].uri == f"{bucket_uri}/trials/0"
    again = run_errand(config, errand, lambda _step, _loss: None)
    assert again.value == ending.value

"""What training makes of its data before the first step: refusals, and remarks on small data."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.helpers.tiny_artifacts import publish_digits

from darkroom.config import JobConfig, build_config
from darkroom.errors import ConfigError
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.training.dataset import TrainingData
from darkroom.storage import Artifact, open_output

UNET = {"block_out_channels": [8, 8], "attention_resolutions": [4], "norm_num_groups": 8}


def config(**values: Any) -> TrainConfig:
    return build_config(TrainConfig, {"input": "/in", "output": "/out", "unet": UNET, **values})


def remarks(artifact: Artifact, chosen: TrainConfig) -> list[str]:
    data = TrainingData.of(artifact, chosen)
    return [*data.remarks(chosen), *UNetTraining(chosen).remarks(data)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def unvalidated(digits: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same without a validation split."""
    uri = str(tmp_path_factory.mktemp("data") / "train-only")
    with open_output(uri, kind="dataset", config=JobConfig(output=uri)) as output:
        (entry,) = digits.entries("data/train/")
        data = digits.read_bytes(entry.name)
        file = output.writer.write_bytes(
            entry.name, data, rows=entry.rows, metadata=dict(entry.metadata)
        )
        return output.publish([file], rows=entry.rows, metadata=digits.manifest.metadata)


def test_data_that_suit_the_settings_need_no_remark(digits: Artifact) -> None:
    assert not remarks(digits, config())


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ({"limit": 100}, "batch_size 128 is more than the 100 training rows"),
        ({"unet": {**UNET, "attention_resolutions": [16]}}, r"are \[8, 4\] pixels high, so"),
    ],
)
def test_settings_that_the_data_do_not_bear_are_said(
    digits: Artifact, values: dict[str, Any], remark: str
) -> None:
    (said,) = remarks(digits, config(**values))
    assert re.search(remark, said)


def test_no_validation_split_is_said(unvalidated: Artifact) -> None:
    (said,) = remarks(unvalidated, config())
    assert said == "the data has no validation split: no validation loss is measured"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"validation": {"early_stopping_patience": 3}}, "validation.early_stopping_patience"),
        ({"lr_schedule": {"kind": "plateau"}}, "lr_schedule.kind"),
        (
            {
                "export": "best",
                "validation": {"every_steps": 500},
                "checkpoint": {"every_steps": 500},
            },
            "export",
        ),
    ],
)
def test_what_waits_for_a_validation_loss_is_refused_without_one(
    digits: Artifact, unvalidated: Artifact, values: dict[str, Any], field: str
) -> None:
    TrainingData.of(digits, config(**values))
    with pytest.raises(ConfigError, match="the dataset has no validation split") as caught:
        TrainingData.of(unvalidated, config(**values))
    assert caught.value.field == field

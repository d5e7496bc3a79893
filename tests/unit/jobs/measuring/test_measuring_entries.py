"""What can be measured of which pictures, and why the rest is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from darkroom.errors import DataError
from darkroom.jobs.measuring.entries import ENTRIES, Facts, choose, columns_of
from darkroom.jobs.measuring.extractors import ClassifierExtractor
from darkroom.jobs.measuring.names import NAMES, NETWORKS, USUAL, names_of_features
from darkroom.jobs.pictures.shape import ImageShape

ALL = USUAL
DIGITS = Facts(
    ImageShape(8, 8, 1), num_classes=10, reference_is_labelled=True, classes_are_asked=True
)


def test_every_metric_of_the_config_is_an_entry_and_its_features_are_made() -> None:
    assert set(ENTRIES) == set(NAMES)
    assert set(columns_of(ALL)) == {"pixels", *ClassifierExtractor.columns}
    assert set(columns_of(NAMES)) - set(columns_of(ALL)) == set(NETWORKS)


def test_a_network_without_weights_is_left_out_and_says_where_they_come_from() -> None:
    facts = replace(DIGITS, networks=frozenset({"dinov2"}), prompts_are_known=True)
    wanted, skipped = choose(NAMES, facts)
    assert set(names_of_features("dinov2")) <= set(wanted)
    for features in ("inception", "clip", "timm"):
        for name in names_of_features(features):
            assert skipped[name].startswith(f"networks.{features} is not given; set networks.")
    assert "toshas/torch-fidelity" in skipped["frechet_inception"]
    assert "openai/clip-vit-large-patch14-336" in skipped["clip_score"]
    _, without_prompts = choose(
        ("clip_score", "cmmd_clip"),
        replace(facts, prompts_are_known=False, networks=frozenset({"clip"})),
    )
    assert without_prompts == {"clip_score": "the pictures do not say which prompt they show"}


def test_of_digits_everything_can_be_measured() -> None:
    assert choose(ALL, DIGITS) == (ALL, {})


@pytest.mark.parametrize(
    ("changes", "left_out", "reason"),
    [
        ({"shape": ImageShape(65, 64, 1)}, {"frechet_pixels", "kernel_pixels"}, "over 4096"),
        (
            {"num_classes": 1},
            {"frechet_classifier", "kernel_classifier", "class_accuracy"},
            "no classes to train",
        ),
        (
            {"reference_is_labelled": False},
            {"frechet_classifier", "kernel_classifier", "class_accuracy"},
            "no classes to train",
        ),
        (
            {"shape": ImageShape(8, 7, 1)},
            {"frechet_classifier", "kernel_classifier", "class_accuracy"},
            "needs pictures of 8x8",
        ),
        ({"classes_are_asked": False}, {"class_accuracy"}, "which class was asked for"),
        (
            {"kept_columns": frozenset({"pixels"})},
            {"frechet_classifier", "kernel_classifier", "class_accuracy"},
            "the reference kept no",
        ),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], left_out: set[str], reason: str) -> None:
    wanted, skipped = choose(ALL, replace(DIGITS, **changes))
    assert set(skipped) == left_out == set(ALL) - set(wanted)
    assert all(reason in why for why in skipped.values())


def test_a_reference_without_splits_has_no_floors_and_no_training_pictures() -> None:
    wanted, skipped = choose(ALL, replace(DIGITS, has_training_split=False))
    assert set(wanted) == {"frechet_pixels", "kernel_pixels"}
    assert set(skipped) == set(ALL) - set(wanted) | {"floors"}
    assert {"folder" in why for why in skipped.values()} == {True}


def test_when_nothing_can_be_measured_the_command_ends() -> None:
    with pytest.raises(DataError, match="none can be computed"):
        choose(("class_accuracy",), replace(DIGITS, classes_are_asked=False))

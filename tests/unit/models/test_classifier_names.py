"""What the libraries say of a name, taken over as it is."""

from __future__ import annotations

import pytest
import timm
from timm.data import resolve_data_config
from torchvision.models import ResNet152_Weights

from darkroom.errors import ConfigError
from darkroom.models.classifier import Library, describe_classifier


def test_torchvisions_transforms_and_labels() -> None:
    found = describe_classifier("torchvision", "resnet152")
    theirs = ResNet152_Weights.DEFAULT
    preset = theirs.transforms()
    assert found.labels == tuple(theirs.meta["categories"])
    assert [found.preprocess.resize] == preset.resize_size
    assert list(found.preprocess.crop) == preset.crop_size * 2
    assert list(found.preprocess.mean) == preset.mean
    assert list(found.preprocess.std) == preset.std
    assert found.preprocess.interpolation == preset.interpolation.value


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_timms_transforms_and_labels(name: str) -> None:
    found = describe_classifier("timm", name)
    theirs = resolve_data_config({}, model=timm.create_model(name))
    assert found.preprocess.crop == theirs["input_size"][1:]
    assert found.preprocess.resize == int(theirs["input_size"][1] / theirs["crop_pct"])
    assert found.preprocess.mean == theirs["mean"]
    assert found.preprocess.std == theirs["std"]
    assert found.preprocess.interpolation == theirs["interpolation"]
    assert len(found.labels) == 1000
    assert found.labels[285] == "Egyptian cat"


@pytest.mark.parametrize(
    ("library", "name", "guess"),
    [
        ("torchvision", "resnet_152", "resnet152"),
        ("timm", "efficientnet_lit0", "efficientnet_lite0"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    library: Library, name: str, guess: str
) -> None:
    with pytest.raises(ConfigError, match=guess):
        describe_classifier(library, name)

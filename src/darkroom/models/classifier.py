"""What a classifier's name stands for: its labels, and what it wants done to a picture.

Assumes the libraries' own tables; builds no model. Importing this module imports no torch, since
the tasks that decode pictures need nothing of it.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from darkroom.errors import ConfigError

Library = Literal["torchvision", "timm"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What a model wants done to a picture. Sizes are pixels, mean and std of values in [0, 1]."""

    resize: int | tuple[int, int]
    """The shorter side, or (height, width) whatever the aspect."""
    crop: tuple[int, int]
    """Height and width of the centre that is kept."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Classifier:
    """What a name stands for."""

    library: Library
    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess


def describe_classifier(library: Library, name: str) -> Classifier:
    """Errors: ConfigError for an unknown name, with the nearest one."""
    return _torchvision(name) if library == "torchvision" else _timm(name)


def with_labels(classifier: Classifier, labels: tuple[str, ...]) -> Classifier:
    """The same architecture for other classes."""
    return Classifier(classifier.library, classifier.name, labels, classifier.preprocess)


@cache
def label_names(labels: tuple[str, ...]) -> Mapping[str, int]:
    """Every name that means one label: itself, and for ImageNet's 1,000 also synonyms and WordNet
    ids (n01440764), lower case, spaces for underscores. Names of several labels mean none.
    """
    meanings: dict[str, set[int]] = {}
    for index, label in enumerate(labels):
        meanings.setdefault(plain_name(label), set()).add(index)
    for index, names in enumerate(_imagenet_names(labels)):
        for name in names:
            meanings.setdefault(plain_name(name), set()).add(index)
    return {name: next(iter(found)) for name, found in meanings.items() if len(found) == 1}


def _imagenet_names(labels: tuple[str, ...]) -> list[list[str]]:
    """WordNet id and synonyms of each label; none when the labels are not ImageNet's 1,000."""
    if len(labels) != 1000:
        return []
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    texts: list[str] = info.label_descriptions(detailed=False)
    same = sum(
        plain_name(label.split(",")[0]) in plain_name(text)
        for label, text in zip(labels, texts, strict=True)
    )
    if same < 900:  # libraries word a few labels in their own way
        return []
    ids: list[str] = info.label_names()
    return [[wordnet_id, *text.split(",")] for wordnet_id, text in zip(ids, texts, strict=True)]


def plain_name(name: str) -> str:
    """A class name for comparing: lower case, single spaces, one form of Unicode."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").lower().split())


def _torchvision(name: str) -> Classifier:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise _unknown(name, "torchvision", models.list_models(module=models))
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    return Classifier(
        library="torchvision",
        name=name,
        labels=tuple(weights.meta["categories"]),
        preprocess=Preprocess(
            resize=preset.resize_size[0],
            crop=(preset.crop_size[0], preset.crop_size[0]),
            interpolation=preset.interpolation.value,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        ),
    )


def _timm(name: str) -> Classifier:
    import timm
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if not timm.is_model(name):
        raise _unknown(name, "timm", timm.list_models())
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise ConfigError(
            "model.name", name, "has no settings of its own in timm", "choose another"
        )
    values: dict[str, Any] = config.to_dict()
    subset = infer_imagenet_subset(values)
    if subset is not None:
        labels = tuple(ImageNetInfo(subset).label_descriptions())
    else:
        labels = tuple(values.get("label_names") or map(str, range(values["num_classes"])))
    height, width = values["input_size"][1:]
    share = values.get("crop_pct") or 0.875
    square = values.get("crop_mode") == "squash"
    resize: int | tuple[int, int] = math.floor(height / share)
    if square or height != width:
        resize = (math.floor(height / share), math.floor(width / share))
    return Classifier(
        library="timm",
        name=name,
        labels=labels,
        preprocess=Preprocess(
            resize=resize,
            crop=(height, width),
            interpolation=values["interpolation"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
        ),
    )


def _unknown(name: str, library: str, known: list[str]) -> ConfigError:
    guesses = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(guesses)}?" if guesses else "see the library's list"
    return ConfigError("model.name", name, f"is no classifier of {library}", remedy)

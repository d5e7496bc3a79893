"""The names of what can be measured, and how people spell them. Imports neither ray nor torch.

A name is a measure and the features that it compares: `frechet_inception`. The field calls the
Frechet distance FID and the kernel distance KID; both are understood: `fid_inception`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from darkroom.config import closest

FEATURES = ("pixels", "classifier", "inception", "dinov2", "clip", "timm")
LPIPS = "lpips"
NETWORKS = (*FEATURES[2:], LPIPS)
"""Those whose weights the user gives."""
MEASURES = ("frechet", "kernel", "precision", "recall", "density", "coverage")
NEARNESS = "memorisation"
CLASS_ACCURACY, CMMD, CLIP_SCORE = "class_accuracy", "cmmd_clip", "clip_score"
LPIPS_DIVERSITY = "lpips_diversity"
NEIGHBOURHOODS = MEASURES[2:]

USUAL = (
    "frechet_pixels",
    "frechet_classifier",
    "kernel_pixels",
    "kernel_classifier",
    CLASS_ACCURACY,
    NEARNESS,
)
"""What is measured without a word: what needs no weights and no choice."""
_ALIASES = {"fid_": "frechet_", "kid_": "kernel_"}


_LARGER_IS_BETTER = ("class_accuracy", "clip_score", *NEIGHBOURHOODS)


def larger_is_better(name: str) -> bool:
    """Which way a figure goes."""
    return name.startswith(_LARGER_IS_BETTER)


def moves_with_number(name: str) -> bool:
    """Whether a figure of as good pictures is another when there are more of them."""
    return name.startswith(("frechet_", *NEIGHBOURHOODS))


def nearness_of(features: str) -> str:
    """The name of memorisation by these features; of pixels it is the plain word."""
    return NEARNESS if features == "pixels" else f"{NEARNESS}_{features}"


def names_of_features(features: str) -> tuple[str, ...]:
    """What can be measured of one kind of features."""
    if features == LPIPS:
        return (LPIPS_DIVERSITY,)
    own = {"clip": (CMMD, CLIP_SCORE), "classifier": (CLASS_ACCURACY,)}
    compared = tuple(f"{measure}_{features}" for measure in MEASURES)
    return (*compared, nearness_of(features), *own.get(features, ()))


NAMES = tuple(name for features in (*FEATURES, LPIPS) for name in names_of_features(features))


def metric_name(text: str) -> str:
    """The one name of a figure, however it was spelt. Errors: ValueError with a guess."""
    name = text
    for alias, own in _ALIASES.items():
        if text.startswith(alias):
            name = own + text.removeprefix(alias)
    if name in NAMES:
        return name
    spelt = [*NAMES, *(a + n.removeprefix(o) for a, o in _ALIASES.items() for n in NAMES
                       if n.startswith(o))]  # fmt: skip
    guess = closest(text, spelt)
    raise ValueError(
        f"no figure is called {text!r}; "
        + (f"did you mean {guess!r}?" if guess else f"figures are {', '.join(NAMES)}")
    )


MetricName = Annotated[str, AfterValidator(metric_name)]

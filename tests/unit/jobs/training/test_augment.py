"""Random changes of a batch: a function of the row and its epoch, and torchvision's by values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from darkroom.config import build_config
from darkroom.jobs.training.augment import augmented
from darkroom.jobs.training.config import DataConfig
from darkroom.jobs.training.draws import RowDraws

EVERYTHING: dict[str, Any] = {
    "horizontal_flip": True,
    "crop": {"min_area": 0.5, "max_aspect": 1.3},
    "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
}


def draws(rows: list[int], epoch: int = 0) -> RowDraws:
    return RowDraws(3, torch.tensor(rows), torch.full((len(rows),), epoch))


def changed(pictures: Tensor, drawn: RowDraws, **data: Any) -> Tensor:
    return augmented(pictures, drawn, build_config(DataConfig, data))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    rows, columns = torch.meshgrid(
        torch.linspace(0, 3, 12), torch.linspace(0, 4, 16), indexing="ij"
    )
    waves = torch.stack(
        [torch.stack([(rows * k + columns * c).sin() for c in (1, 2, 3)]) for k in range(6)]
    )
    return waves * 0.9


def test_nothing_is_asked_for(pictures: Tensor) -> None:
    assert changed(pictures, draws(list(range(6)))) is pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_neither_the_batch_nor_its_order_changes_a_row(pictures: Tensor, channels: int) -> None:
    pictures = pictures[:, :channels]
    whole = changed(pictures, draws(list(range(6))), **EVERYTHING)
    assert whole.shape == pictures.shape
    assert whole.abs().max() <= 1
    for order in ([5, 0, 3], [2]):
        part = changed(pictures[order], draws(order), **EVERYTHING)
        torch.testing.assert_close(part, whole[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_epoch_has_changes_of_its_own(pictures: Tensor, name: str) -> None:
    one, again, other = (
        changed(pictures, draws(list(range(6)), epoch), **{name: EVERYTHING[name]})
        for epoch in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, pictures)
    assert not torch.equal(one, other)


def test_the_widest_crop_is_the_picture(pictures: Tensor) -> None:
    whole = changed(pictures, draws(list(range(6))), crop={"min_area": 1.0, "max_aspect": 1.0})
    torch.testing.assert_close(whole, pictures, rtol=0, atol=1e-5)


def test_a_crop_is_a_window_of_the_picture() -> None:
    """Of a ramp, the window's place and size can be read off; its least area is kept to."""
    ramp = torch.linspace(-1, 1, 64).expand(40, 3, 64, 64)
    crops = changed(ramp, draws(list(range(40))), crop={"min_area": 0.25, "max_aspect": 1.0})
    spans = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / 2
    assert spans.min() > 0.45
    assert spans.max() <= 1
    assert spans.std() > 0.05, "areas differ"
    assert crops[:, 0, 0, 0].std() > 0.05, "places differ"


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_colours_are_torchvisions(pictures: Tensor, name: str, function: Any) -> None:
    rows = list(range(6))
    at = ("brightness", "contrast", "saturation").index(name)
    factors = 1 + (2 * draws(rows).uniform("color_jitter", (4,))[:, at] - 1) * 0.4
    expected = [
        function((p + 1) / 2, float(f)) * 2 - 1 for p, f in zip(pictures, factors, strict=True)
    ]
    found = changed(pictures, draws(rows), color_jitter={name: 0.4})
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=2e-3)

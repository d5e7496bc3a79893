"""Classifier-free guidance, with a network that records how it was called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from darkroom.diffusion import conditional, drop_labels, guided
from darkroom.errors import ConfigError

NULL = 10


class Recorder:
    """f(x, t, y) = x + y, in diffusers' output object; keeps the labels of every call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, x: Tensor, t: Tensor, class_labels: Tensor) -> SimpleNamespace:
        assert len(x) == len(t) == len(class_labels)
        self.calls.append(class_labels.tolist())
        return SimpleNamespace(sample=x + class_labels[:, None].to(x))


X, T, LABELS = torch.zeros(2, 3), torch.tensor([5, 5]), torch.tensor([1, 2])


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.5])
def test_guidance_extrapolates_from_the_null_class_in_one_call(scale: float) -> None:
    network = Recorder()
    output = guided(network, LABELS, NULL, scale)(X, T)
    assert network.calls == [[NULL, NULL, 1, 2]]
    expected = NULL + scale * (LABELS - NULL)
    torch.testing.assert_close(output, expected[:, None].expand(2, 3).float())


def test_scale_one_calls_the_network_once_with_the_labels() -> None:
    network = Recorder()
    output = guided(network, LABELS, NULL, 1.0)(X, T)
    assert network.calls == [[1, 2]]
    assert output[:, 0].tolist() == [1.0, 2.0]


def test_scale_zero_is_the_unconditional_model() -> None:
    network = Recorder()
    guided(network, LABELS, NULL, 0.0)(X, T)
    assert network.calls == [[NULL, NULL]]


def test_scale_one_needs_no_null_class() -> None:
    assert guided(Recorder(), LABELS, None, 1.0)(X, T).shape == X.shape


@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_guidance_without_a_null_class_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"guidance_scale.*no null class.*label dropout"):
        guided(Recorder(), LABELS, None, scale)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_scale_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="guidance_scale"):
        guided(Recorder(), LABELS, NULL, scale)


def test_guidance_drives_a_real_unet() -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4, num_class_embeds=NULL + 1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 3])
    with torch.inference_mode():
        null = unet(x, t, class_labels=torch.tensor([NULL, NULL])).sample
        conditioned = unet(x, t, class_labels=LABELS).sample
        output = guided(unet, LABELS, NULL, 3.0)(x, t)
    assert not torch.allclose(null, conditioned)
    torch.testing.assert_close(output, null + 3.0 * (conditioned - null), rtol=1e-4, atol=1e-5)


def test_an_unconditional_network_is_called_without_labels() -> None:
    assert torch.equal(conditional(lambda x, t: x + t[:, None], None)(X, T), X + 5.0)


def test_labels_are_dropped_with_the_given_probability() -> None:
    labels = torch.arange(10).repeat(1000)
    uniform = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    dropped = drop_labels(labels, NULL, 0.1, uniform)
    share = (dropped == NULL).float().mean().item()
    assert 0.08 < share < 0.12
    assert torch.equal(dropped[dropped != NULL], labels[dropped != NULL])
    assert torch.equal(drop_labels(labels, NULL, 0.0, uniform), labels)
    assert bool((drop_labels(labels, NULL, 1.0, uniform) == NULL).all())

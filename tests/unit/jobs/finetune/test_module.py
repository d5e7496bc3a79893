"""What trains of a base and what does not, and that a row's loss is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.finetuning import batch_of, finetune_config, finetune_module, take_steps
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import ConfigError
from darkroom.jobs.training.training_stream import Batch

FAMILIES = ["sd", "sdxl", "sd3", "flux"]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    return save_tiny(name, tmp_path_factory.mktemp("models") / name)


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora", "lora": {"targets": "all"}, "text_encoder": {"learning_rate": 1e-3}},
        {"method": "full", "text_encoder": {"learning_rate": 1e-3}},
    ],
    ids=["lora", "full"],
)
def test_all_that_trains_gets_a_gradient_and_nothing_else(
    base: Path, changes: dict[str, Any]
) -> None:
    module = finetune_module(finetune_config(base, **changes))
    torch.autograd.backward(module.training_losses(batch_of()).mean())
    names = dict(module.named_parameters())
    assert set(module.trained) == {name for name, each in names.items() if each.requires_grad}
    assert [name for name, each in module.trained.items() if each.grad is None] == []
    assert any(name.startswith("text_encoder.") for name in module.trained)
    assert not any(name.startswith("vae.") for name in module.trained)


def test_loss_falls(base: Path) -> None:
    module = finetune_module(
        finetune_config(base, method="full", objective={"caption_dropout": 0.0})
    )
    batch = batch_of()
    losses = take_steps(module, 15, batch)
    assert losses[-1] < 0.9 * losses[0]


def test_adapters_start_as_the_base(sd: Path) -> None:
    config = finetune_config(sd, objective={"caption_dropout": 0.0})
    with torch.no_grad():
        with_lora = finetune_module(config).training_losses(batch_of())
        full = finetune_module(config.model_copy(update={"method": "full"}))
        assert torch.equal(with_lora, full.training_losses(batch_of()))


def test_loss_of_a_row_is_its_own(base: Path) -> None:
    module = finetune_module(finetune_config(base, objective={"caption_dropout": 0.5}))
    with torch.no_grad():
        together = module.training_losses(batch_of(4))
        apart = [module.training_losses(batch_of(1, first=row)) for row in range(4)]
    assert torch.allclose(together, torch.cat(apart), rtol=1e-4)


def test_next_epoch_draws_anew_and_validation_never(sd: Path) -> None:
    module = finetune_module(finetune_config(sd))
    with torch.no_grad():
        first, second = (module.training_losses(batch_of(epoch=each)) for each in (0, 1))
        assert not torch.equal(first, second)
        again = [module.validation_losses(batch_of(), index) for index in (0, 4)]
    assert torch.equal(*again)


def test_shuffled_captions_are_what_trains_and_not_what_is_validated(sd: Path) -> None:
    tags: Batch = {**batch_of(), "caption": ["a, b, c, d, e, f"] * 4}
    objective = {"caption_dropout": 0.0}
    plain = finetune_module(finetune_config(sd, objective=objective))
    shuffled = finetune_module(finetune_config(sd, objective=objective, caption_shuffle={}))
    with torch.no_grad():
        assert not torch.equal(plain.training_losses(tags), shuffled.training_losses(tags))
        one: Batch = {**tags, "caption": ["a cat"] * 4}
        assert torch.equal(plain.training_losses(one), shuffled.training_losses(one))
        assert torch.equal(plain.validation_losses(tags, 0), shuffled.validation_losses(tags, 0))


def test_caption_dropout_takes_what_the_pipeline_takes_for_no_text(base: Path) -> None:
    module = finetune_module(finetune_config(base))
    dropped = torch.tensor([True, False])
    text = module._text(["a rocket", "a rocket"], dropped)
    empty, full = module.base.encode_text(["", "a rocket"]).sequence
    if module.base.drops_text_to_zeros:
        empty = torch.zeros_like(empty)
    assert torch.equal(text.sequence[0], empty)
    assert torch.allclose(text.sequence[1], full, atol=1e-5)


def test_missing_caption_is_the_empty_one(sd: Path) -> None:
    module = finetune_module(finetune_config(sd))
    never = torch.tensor([False])
    assert torch.equal(module._text([None], never).sequence, module._text([""], never).sequence)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"offset_noise": 0.1}},
        {"objective": {"input_perturbation": 0.1}},
        {"objective": {"timestep_density": "logit_normal"}},
        {"objective": {"min_snr_gamma": 0.05}},
        {"data": {"horizontal_flip": True}},
    ],
    ids=lambda changes: next(iter(next(iter(changes.values())))),
)
def test_settings_change_the_loss(sd: Path, changes: dict[str, Any]) -> None:
    objective = {"caption_dropout": 0.0, **changes.pop("objective", {})}
    plain = finetune_module(finetune_config(sd, objective={"caption_dropout": 0.0}))
    other = finetune_module(finetune_config(sd, objective=objective, **changes))
    with torch.no_grad():
        assert not torch.equal(
            plain.training_losses(batch_of(8)), other.training_losses(batch_of(8))
        )


def test_checkpointing_gives_equal_gradients(sd: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        module = finetune_module(finetune_config(sd, gradient_checkpointing=checkpointing))
        take_steps(module, 1)
        gradients.append([each.grad for each in module.trained.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_text_encoders_are_a_group_of_their_own(sd: Path) -> None:
    changes: dict[str, Any] = {"text_encoder": {"learning_rate": 3e-4}}
    network, text = finetune_module(finetune_config(sd, **changes)).parameter_groups()
    assert network.name == "unet"
    assert (network.learning_rate, text.learning_rate) == (1e-2, 3e-4)
    assert text.name == "text_encoder"
    assert text.parameters


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_base_keeps_its_adapters_in_float32(precision: str, sd: Path) -> None:
    config = finetune_config(sd, base_precision=precision, compute={"precision": precision})
    from darkroom.jobs.finetune.module import FinetuneModule
    from darkroom.models.families.base import load_base

    module = FinetuneModule(
        config, load_base(sd, field="b", name="b", dtype=getattr(torch, precision))
    )
    module.prepare()
    assert {each.dtype for each in module.trained.values()} == {torch.float32}
    assert module.base.network.dtype == getattr(torch, precision)
    losses = take_steps(module, 3)
    assert all(torch.isfinite(torch.tensor(losses)))


def test_only_what_trains_in_full_is_in_training_mode(sd: Path) -> None:
    lora = finetune_module(finetune_config(sd))
    assert not any(part.training for part in lora.base.network.modules())
    full = finetune_module(finetune_config(sd, method="full"))
    assert full.base.network.training
    assert not full.base.vae.training


@pytest.mark.parametrize(
    ("family", "setting"), [("sd", {"flow_shift": 3.0}), ("flux", {"min_snr_gamma": 5.0})]
)
def test_settings_of_the_other_objective_are_refused(
    tmp_path: Path, family: str, setting: dict[str, float]
) -> None:
    folder = save_tiny(family, tmp_path / family)
    with pytest.raises(ConfigError, match=f"objective.{next(iter(setting))}"):
        finetune_module(finetune_config(folder, objective=setting))


def test_v_prediction_of_the_base_is_followed(tmp_path: Path, sd: Path) -> None:
    other = save_tiny("sd", tmp_path / "v", prediction_type="v_prediction")
    batch: Batch = batch_of()
    with torch.no_grad():
        epsilon, v = (
            finetune_module(finetune_config(each)).training_losses(batch) for each in (sd, other)
        )
    assert not torch.equal(epsilon, v)

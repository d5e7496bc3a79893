"""Terms of the loss: what each is worth, and that each moves the network as it should."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tests.helpers.finetuning import batch_of, finetune_config, take_steps
from tests.helpers.losses import save_features
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import ConfigError
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.finetune.loss_config import HuberConfig
from darkroom.jobs.finetune.losses import Huber
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.finetune.noising import objective_of
from darkroom.jobs.training.draws import RowDraws
from darkroom.models.families.base import load_base
from darkroom.models.families.latents import decode_latents, from_network, to_network
from darkroom.models.feature_network import load_feature_network

OWN = "tests.helpers.losses"
FULL: dict[str, Any] = {"method": "full", "objective": {"caption_dropout": 0.0}}
NO_MSE: dict[str, Any] = {"mse": None}
ALL: dict[str, Any] = {
    "mse": {"weight": 0.5}, "huber": {"weight": 2.0}, "adversarial": {"width": 8, "num_layers": 2},
    "custom": {"function": f"{OWN}:absolute_error", "weight": 0.25},
}  # fmt: skip


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_features(tmp_path_factory.mktemp("models") / "features")


def module_with(
    base: Path, losses: dict[str, Any], *, features: Path | None = None, **changes: Any
) -> FinetuneModule:
    """features: where the perceptual term's network is."""
    network = None
    if features is not None:
        losses = {**losses, "perceptual": {"network": str(features), "weight": 3.0}}
        network = load_feature_network(features, field="f", name="f")
    config = finetune_config(base, losses=losses, **{**FULL, **changes})
    torch.manual_seed(0)
    module = FinetuneModule(config, load_base(base, field="b", name="b"), features=network)
    module.prepare()
    return module.train()


def terms(module: FinetuneModule, rows: int = 4) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of each row, and the mean of each term."""
    module.begin_terms()
    total = module.training_losses(batch_of(rows)).detach()
    return total, {name: each.item() / rows for name, each in module.term_sums.items()}


def gradient(module: FinetuneModule) -> torch.Tensor:
    for each in module.with_gradients():
        each.grad = None
    torch.autograd.backward(module.training_losses(batch_of()).mean())
    return torch.cat([each.grad.flatten() for each in module.trained.values()])  # type: ignore[union-attr] # all train


def test_loss_is_the_sum_of_its_terms_times_their_weights(sd: Path, features: Path) -> None:
    module = module_with(sd, ALL, features=features)
    total, found = terms(module)
    assert set(found) == {
        "mse", "huber", "perceptual", "adversarial", "custom", "discriminator"
    }  # fmt: skip
    weights = module.config.losses.weights
    assert total.mean().item() == pytest.approx(
        sum(weight * found[name] for name, weight in weights.items()), rel=1e-5
    )
    assert all(value != 0 for value in found.values())


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_every_term_serves_every_family(tmp_path: Path, features: Path, family: str) -> None:
    base = save_tiny(family, tmp_path / family)
    module = module_with(base, ALL, features=features, method="lora")
    together = module.training_losses(batch_of(3))
    torch.autograd.backward(together.mean())
    assert all(torch.isfinite(each.grad).all() for each in module.with_gradients())  # type: ignore[arg-type] # all have one
    with torch.no_grad():
        apart = [module.training_losses(batch_of(1, first=row)) for row in range(3)]
    assert torch.allclose(together.detach(), torch.cat(apart), rtol=1e-4)


def test_terms_are_float32_over_a_base_in_bfloat16(sd: Path, features: Path) -> None:
    half = {"method": "lora", "base_precision": "bfloat16", "compute": {"precision": "bfloat16"}}
    config = finetune_config(
        sd, losses={**ALL, "perceptual": {"network": str(features)}}, **half,
        validation={"pictures": {"prompts": ["a cat"], "num_steps": 1}},
    )  # fmt: skip
    base = load_base(sd, field="b", name="b", dtype=torch.bfloat16)
    network = load_feature_network(features, field="f", name="f")
    module = FinetuneModule(config, base, features=network, picture_size=(32, 32))
    module.prepare()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as Lightning has it around a step
        losses = module.training_losses(batch_of())
    assert losses.dtype == torch.float32
    torch.autograd.backward(losses.mean())
    assert all(torch.isfinite(each.grad).all() for each in module.with_gradients())  # type: ignore[arg-type] # all have one
    assert len(module.draw_pictures()) == 1


def test_weight_scales_the_gradient_and_min_snr_weighs_errors(sd: Path) -> None:
    once, thrice = (gradient(module_with(sd, {"mse": {"weight": each}})) for each in (1.0, 3.0))
    assert torch.allclose(thrice, 3 * once, rtol=1e-4, atol=1e-7)
    plain, weighted = (
        terms(module_with(sd, {**NO_MSE, "huber": {}}, objective={**FULL["objective"], **snr}))[1]
        for snr in ({}, {"min_snr_gamma": 0.05})
    )
    assert weighted["huber"] < 0.5 * plain["huber"]


@pytest.mark.parametrize("name", ["huber", "custom", "perceptual"])
def test_a_term_alone_falls_as_it_is_trained(sd: Path, features: Path, name: str) -> None:
    settings = {"huber": {}, "custom": {"function": f"{OWN}:absolute_error"}}
    losses = {**NO_MSE, name: settings[name]} if name in settings else NO_MSE
    module = module_with(sd, losses, features=None if name in settings else features)
    values = take_steps(module, 6, batch_of())
    assert values[-1] < 0.95 * values[0]


def test_huber_is_that_of_diffusers_scripts() -> None:
    estimate = _estimate(levels=[0.0, 0.5, 0.999])
    error = (estimate.prediction - estimate.target).double()
    sigmas = (estimate.noise / estimate.signal).double()
    schedule: Literal["constant", "exponential", "snr"]
    for schedule, delta in (
        ("constant", torch.full((3,), 0.1)),
        ("exponential", torch.exp(torch.log(torch.tensor(0.1)) * estimate.level)),
        ("snr", (1 - 0.1) / (1 + sigmas) ** 2 + 0.1),
    ):
        c = delta.double().reshape(-1, 1, 1, 1)
        wanted = (2 * c * (torch.sqrt(error**2 + c**2) - c)).flatten(1).mean(1)
        found = Huber(HuberConfig(schedule=schedule))(estimate, batch_of(3))
        assert torch.allclose(found.double(), wanted, rtol=1e-4)
    near = Huber(HuberConfig(schedule="constant", delta=1.0))
    small = _estimate(levels=[0.5], error=1e-3)
    assert near(small, batch_of(1)).item() == pytest.approx(1e-6, rel=1e-2)


def _estimate(levels: list[float], error: float | None = None) -> Estimate:
    torch.manual_seed(1)
    shape = (len(levels), 4, 8, 8)
    level, target = torch.tensor(levels), torch.randn(shape)
    prediction = torch.randn(shape) if error is None else target + error
    signal = torch.cos(level * torch.pi / 2)
    return Estimate(
        x0=torch.randn(shape), prediction=prediction, target=target, x0_hat=torch.randn(shape),
        timesteps=level * 1000, level=level, signal=signal, noise=torch.sin(level * torch.pi / 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "options"),
    [("sd", {}), ("sd", {"prediction_type": "v_prediction"}), ("sd3", {})],
    ids=["epsilon", "v", "velocity"],
)
def test_right_prediction_gives_x0_back(
    tmp_path: Path, family: str, options: dict[str, Any]
) -> None:
    base = load_base(save_tiny(family, tmp_path / family, **options), field="b", name="b")
    objective = objective_of(finetune_config("/base").objective, base)
    draws = RowDraws(5, torch.arange(6), torch.zeros(6, dtype=torch.int64))
    x0 = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    wrong = objective.estimate(lambda x_t, _: torch.zeros_like(x_t), x0, draws)
    right = objective.estimate(lambda *_: wrong.target, x0, draws)
    assert torch.allclose(right.x0_hat, x0, atol=2e-3)
    assert not torch.allclose(wrong.x0_hat, x0, atol=0.1)
    assert ((right.picture_share > 0) & (right.picture_share < 1)).all()


def test_decoding_is_the_inverse_of_what_training_sees(sd: Path) -> None:
    vae = load_base(sd, field="b", name="b").vae
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        from_network(vae.config, to_network(vae.config, latents)), latents, atol=1e-5
    )
    assert decode_latents(vae, latents).shape == (2, 3, 32, 32)


def test_both_sides_get_their_own_gradient_alone(sd: Path) -> None:
    """The network's from being caught, the discriminator's from being deceived."""
    losses = {"adversarial": {"width": 8, "num_layers": 2, "weight": 1.0}}
    module = module_with(sd, losses)
    both = gradient(module)
    alone = gradient(module_with(sd, {}))
    assert not torch.allclose(both, alone)
    adversary = module.losses.adversary
    assert adversary is not None
    mine = [each.grad.clone() for each in adversary.parameters if each.grad is not None]
    assert len(mine) == len(adversary.parameters)
    heavier = module_with(sd, {"adversarial": {**losses["adversarial"], "weight": 7.0}})
    gradient(heavier)
    assert heavier.losses.adversary is not None
    for a, b in zip(mine, heavier.losses.adversary.parameters, strict=True):
        assert torch.allclose(a, b.grad, rtol=1e-3, atol=1e-7)  # type: ignore[arg-type] # has one


def test_discriminator_learns_to_tell_them_apart(sd: Path) -> None:
    module = module_with(sd, {"adversarial": {"width": 16, "learning_rate": 1e-2}})
    adversary = module.losses.adversary
    assert adversary is not None
    first = terms(module)[1]["discriminator"]
    for _ in range(8):
        gradient(module)
        adversary.step(1.0)
    assert terms(module)[1]["discriminator"] < 0.7 * first


def test_discriminator_is_in_checkpoints_and_in_nothing_else(sd: Path) -> None:
    module = module_with(sd, {"adversarial": {"width": 8, "num_layers": 2}})
    gradient(module)
    module.on_step_taken()
    untouched: dict[str, Any] = {"state": {}, "param_groups": []}
    state: dict[str, Any] = {"state_dict": module.state_dict(), "optimizer_states": [untouched]}
    module.on_save_checkpoint(state)
    assert not any("losses" in name for name in state["state_dict"])
    assert len(state["ema"]["names"]) == len(module.trained)
    other = module_with(sd, {"adversarial": {"width": 8, "num_layers": 2}})
    assert other.losses.adversary is not None
    for each in other.losses.adversary.parameters:
        each.data.zero_()
    other.on_load_checkpoint(copy.deepcopy(state))
    for step in (module, other):
        gradient(step)
        step.on_step_taken()
    ours, theirs = (each.losses.adversary for each in (module, other))
    assert ours is not None
    assert theirs is not None
    for name, value in ours.network.state_dict().items():
        assert torch.equal(value, theirs.network.state_dict()[name])


def test_validation_leaves_the_discriminator_out(sd: Path) -> None:
    with torch.no_grad():
        plain = module_with(sd, {}).validation_losses(batch_of(), 0)
        other = module_with(sd, {"adversarial": {"width": 8}}).validation_losses(batch_of(), 0)
    assert torch.equal(plain, other)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("nowhere.losses:mine", "there is no module nowhere"),
        (f"{OWN}:missing", "has no such function"),
        (f"{OWN}:NOT_CALLABLE", "is no function there"),
        (f"{OWN}.absolute_error", "is no package.module:function"),
        (f"{OWN}:one_for_all", "returned float32 [] for 4 rows; return a float tensor of"),
        (f"{OWN}:whole_numbers", "returned int64 [4] for 4 rows"),
        (f"{OWN}:no_tensor", "it returned a float"),
        (f"{OWN}:fails", "it raised KeyError: 'mask'"),
    ],
)
def test_function_that_cannot_be_used_is_named_in_one_line(
    sd: Path, function: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        module_with(sd, {"custom": {"function": function}}).training_losses(batch_of())
    line = str(caught.value)
    assert line.startswith(f"losses.custom.function: got '{function}'")
    assert "\n" not in line


def test_discriminator_alone_is_refused(sd: Path) -> None:
    with pytest.raises(ConfigError, match="nothing but the discriminator judges"):
        finetune_config(sd, losses={"mse": None, "adversarial": {}})


def test_folder_of_no_image_network_is_refused(sd: Path) -> None:
    with pytest.raises(ConfigError, match=r"losses.perceptual.network: got 'it', cannot be loaded"):
        load_feature_network(sd / "text_encoder", field="losses.perceptual.network", name="it")

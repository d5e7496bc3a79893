"""All terms of the loss over real S3: stopped and resumed to equal bits, NaN by name.

The runs train in this process; `make proof` kills runs of two workers with a discriminator.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.losses import save_features
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.errors import InterruptedBySignal, NonFiniteLossError
from darkroom.jobs.artifacts.model import PICTURES_FILE
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.export import LORA_FILE
from darkroom.jobs.finetune.job import run
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.report.job import run as report
from darkroom.jobs.training.checkpoint import STATE_FILE
from darkroom.storage import Artifact, open_artifact

OWN = "tests.helpers.losses"
STEPS = 8
PICTURES = {"prompts": ["a photo of a cat"], "num_steps": 2, "every_steps": 4}
TERMS = {"mse", "huber", "perceptual", "adversarial", "custom", "discriminator"}


@pytest.fixture(scope="module")
def places(s3_module_uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    data, prior = f"{s3_module_uri}/subject", f"{s3_module_uri}/class"
    publish_captioned(data, num_each=2)
    publish_captioned(prior, num_each=3)
    return {
        "data": data, "prior": prior, "base": str(save_tiny("sd", folder / "sd")),
        "features": str(save_features(folder / "features")),
    }  # fmt: skip


def config(places: dict[str, str], output: str, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "base": places["base"], "input": places["data"], "output": output, "max_steps": STEPS,
        "batch_size": 4, "lora": {"rank": 4}, "optimizer": {"learning_rate": 1e-2},
        "lr_schedule": {"warmup_steps": 1}, "ema": {"decay": 0.5},
        "validation": {"every_steps": STEPS, "num_images": 4, "pictures": PICTURES},
        "checkpoint": {"every_steps": 4, "asynchronous": False}, "log_every_steps": 2,
        "workers": {"num_workers": 0}, "on_existing": "resume",
    }  # fmt: skip
    return build_config(FinetuneConfig, {**values, **changes})


def last_state(model: Artifact) -> dict[str, Any]:
    """What the run's last checkpoint holds."""
    (parent,) = (each for each in model.manifest.parents if each.role == "checkpoint")
    file = io.BytesIO(open_artifact(parent.uri).read_bytes(STATE_FILE))
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.timeout(1200)
def test_stopped_and_resumed_run_with_all_terms_is_the_undisturbed_one(
    places: dict[str, str], bucket_uri: str
) -> None:
    losses = {
        "mse": {"weight": 0.5}, "huber": {}, "custom": {"function": f"{OWN}:absolute_error"},
        "perceptual": {"network": places["features"]},
        "adversarial": {"width": 8, "num_layers": 2, "learning_rate": 1e-2},
        "prior_preservation": {"input": places["prior"], "weight": 0.7},
    }  # fmt: skip
    quiet, stopped = f"{bucket_uri}/undisturbed", f"{bucket_uri}/stopped"
    run(config(places, quiet, losses=losses))
    with pytest.raises(InterruptedBySignal):
        run(
            config(places, stopped, losses=losses),
            on_row=lambda row: "enough" if row["step"] >= 2 else None,
        )
    run(config(places, stopped, losses=losses))
    undisturbed, resumed = open_artifact(quiet), open_artifact(stopped)
    file = f"model/{LORA_FILE}"
    assert resumed.entry(file).sha256 == undisturbed.entry(file).sha256
    ours, theirs = last_state(resumed), last_state(undisturbed)
    assert len(theirs["adversary"]["optimizer"]["state"]) == 8  # three convolutions and a norm
    for part in ("adversary", "optimizer_states", "ema"):
        assert equal(ours[part], theirs[part]), part

    log = undisturbed.read_table("metrics.parquet").to_pydict()
    shown = {name.removeprefix("loss/") for name in log if name.startswith("loss/")}
    assert shown == TERMS | {"prior_preservation"}
    weights = build_config(FinetuneConfig, undisturbed.manifest.config).losses.weights
    for row, loss in list(enumerate(log["loss"]))[1:]:  # the first is of the validation alone
        own = sum(weight * log[f"loss/{name}"][row] for name, weight in weights.items())
        assert loss == pytest.approx(own + 0.7 * log["loss/prior_preservation"][row], rel=1e-4)
    for norm in ("grad_norm", "param_norm"):
        blocks = [log[name] for name in log if name.startswith(f"{norm}/unet.")]
        assert len(blocks) == 3  # down, middle and up: adapters lie where attention is
        for row, whole in list(enumerate(log[norm]))[1:]:
            assert sum(each[row] ** 2 for each in blocks) ** 0.5 == pytest.approx(whole, rel=1e-3)
    film = undisturbed.read_table(PICTURES_FILE).to_pylist()
    assert [row["step"] for row in film] == [0, 4, 8]
    assert len({row["image"] for row in film}) == 3
    assert resumed.read_table(PICTURES_FILE).to_pylist() == film
    assert {"prior", "perceptual"} <= {each.role for each in undisturbed.manifest.parents}

    report(build_config(ReportConfig, {"input": quiet, "output": f"{bucket_uri}/report"}))
    page = open_artifact(f"{bucket_uri}/report").read_bytes("report.html").decode()
    for said in (
        "Pictures on the way", "a photo of a cat (seed 0)", "step 4", "a photo of a cat at step 8",
        "Terms of the loss, before their weights", "discriminator", "Gradient norm of each block",
        "unet.down_blocks.0", "A LoRA for sd model",
    ):  # fmt: skip
        assert said in page, said


@pytest.mark.timeout(600)
def test_term_that_returns_nan_ends_the_run_by_its_name(
    places: dict[str, str], bucket_uri: str
) -> None:
    losses = {"custom": {"function": f"{OWN}:nan_late"}}
    output = f"{bucket_uri}/nan"
    with pytest.raises(NonFiniteLossError) as caught:
        run(config(places, output, losses=losses, checkpoint={"every_steps": 2}))
    assert str(caught.value) == (
        "the loss term custom became NaN or infinite at step 3; last good checkpoint: step 2; "
        "nothing after it was published; look at that term under losses, lower "
        "optimizer.learning_rate or set optimizer.max_grad_norm"
    )

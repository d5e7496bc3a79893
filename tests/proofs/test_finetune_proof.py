"""Proof: fine-tuning learns, on real captioned photographs, two workers, CPU.

The tiny base of examples/finetune (VAE trained, U-Net random). Full fine-tuning lowers the
fixed-noise validation loss by 80 % or more; a LoRA of that model on what it has never seen by 10 %
(attention) and 20 % (all layers). A run that was killed (LoRA, LoRA with its text encoder, full)
ends with the very bytes of one that was not. `build/proofs/finetune.json` keeps the figures, and
the pictures beside it are to be looked at.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.proof import FOLDER, keep
from tests.helpers.training import running, wait_for_step

from darkroom.storage import Artifact, open_artifact

EXAMPLES = Path(__file__).parents[2] / "examples" / "finetune"
PROMPTS = ("a photo of a cat", "a photo of a cup of coffee", "a photo of a zwk flower")
FULL = {
    "method": "full", "max_steps": 250, "batch_size": 16, "optimizer": {"learning_rate": 2e-3},
    "lr_schedule": {"kind": "cosine", "warmup_steps": 10}, "ema": {"decay": 0.95},
}  # fmt: skip
LORA = {
    "method": "lora", "max_steps": 120, "batch_size": 16, "optimizer": {"learning_rate": 5e-3},
    "lr_schedule": {"warmup_steps": 5}, "ema": {"decay": 0.9},
}  # fmt: skip

KILLED_STEPS = 120
MOST_SECONDS_MORE = 2.0

pytestmark = pytest.mark.timeout(7200)


def complete(verb: str, values: dict[str, Any], folder: Path) -> Artifact:
    with running(verb, values, folder) as run:
        assert run.wait() == 0, run.log.read_text()[-4000:]
    return open_artifact(values["output"])


def values_of(
    root: Path, name: str, base: str, data: str, settings: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    """Of a run by two workers."""
    return {
        "base": base, "input": data, "output": str(root / name), "workers": {"num_workers": 2},
        "validation": {"every_steps": settings["max_steps"], "num_images": 64},
        "checkpoint": {"every_steps": 20, "asynchronous": False}, **settings, **changes,
    }  # fmt: skip


def finetuned(
    root: Path, name: str, base: str, data: str, settings: dict[str, Any], **changes: Any
) -> Artifact:
    return complete("finetune", values_of(root, name, base, data, settings, **changes), root)


def start_loss(root: Path, name: str, base: str, data: str, settings: dict[str, Any]) -> float:
    """The validation loss before training: after one step of next to nothing."""
    still = {
        **settings, "max_steps": 1, "optimizer": {"learning_rate": 1e-12},
        "lr_schedule": {"warmup_steps": 0}, "checkpoint": {"every_steps": 1},
    }  # fmt: skip
    return last_loss(finetuned(root, f"{name}-start", base, data, still))


def last_loss(model: Artifact) -> float:
    losses = model.read_table("metrics.parquet")["validation_loss"].to_pylist()
    return float([loss for loss in losses if loss is not None][-1])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def places(root: Path) -> dict[str, str]:
    """The base and both sets of pictures, as examples/finetune.sh makes them."""
    photographs, flowers = str(root / "photographs"), str(root / "flowers")
    for program, *arguments in (
        ["captioned_pictures.py", photographs],
        ["captioned_pictures.py", flowers, "--concept"],
        ["tiny_base.py", photographs, str(root / "base")],
    ):
        subprocess.run([sys.executable, EXAMPLES / program, *arguments], check=True)
    for name in ("photographs", "flowers"):
        values = {
            "source": {"kind": "captions", "uri": str(root / name)}, "image_size": [32, 32],
            "channels": 3, "output": str(root / f"{name}-data"),
        }  # fmt: skip
        complete("prepare", values, root)
    return {
        "base": str(root / "base"), "photographs": str(root / "photographs-data"),
        "flowers": str(root / "flowers-data"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def full(root: Path, places: dict[str, str]) -> Artifact:
    return finetuned(root, "full", places["base"], places["photographs"], FULL)


def draw(model: str, name: str, lora: str | None = None) -> None:
    """Pictures to be looked at."""
    import diffusers
    import torch

    pipeline = diffusers.DiffusionPipeline.from_pretrained(model, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        pipeline.load_lora_weights(lora)
    for number, prompt in enumerate(PROMPTS):
        generator = torch.Generator().manual_seed(number)
        (picture,) = pipeline(prompt, generator=generator, guidance_scale=3.0).images
        FOLDER.mkdir(parents=True, exist_ok=True)
        picture.save(FOLDER / f"finetune-{name}-{number}.png")


def test_learns(root: Path, places: dict[str, str], full: Artifact) -> None:
    before = start_loss(root, "full", places["base"], places["photographs"], FULL)
    rows: list[dict[str, Any]] = [{"run": "full", "start": before, "end": last_loss(full)}]
    base, flowers = full.uri.path, places["flowers"]
    before = start_loss(root, "lora", str(base), flowers, LORA)
    for targets in ("attention", "all"):
        lora = {"rank": 8, "targets": targets}
        model = finetuned(root, f"lora-{targets}", str(base), flowers, LORA, lora=lora)
        rows.append({"run": f"lora {targets}", "start": before, "end": last_loss(model)})
    folder = full.download(root / "full-files") / "model"
    draw(places["base"], "base")
    draw(str(folder), "full")
    draw(str(folder), "lora", str(model.download(root / "lora-files") / "model"))
    keep("finetune", rows)
    kept = {row["run"]: row["end"] / row["start"] for row in rows}
    assert kept["full"] <= 0.2
    assert kept["lora attention"] <= 0.9
    assert kept["lora all"] <= 0.8


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lora", LORA),
        ("lora-and-text", {**LORA, "text_encoder": {"learning_rate": 1e-3}}),
        ("full", {**FULL, "max_steps": KILLED_STEPS}),
    ],
)
def test_killed_at_a_random_moment_it_ends_with_the_bytes_of_one_that_was_not(
    name: str, settings: dict[str, Any], root: Path, places: dict[str, str], full: Artifact
) -> None:
    """Driver and all of Ray at once, anywhere between two checkpoints."""
    base, flowers = str(full.uri.path), places["flowers"]
    quiet = finetuned(root, f"quiet-{name}", base, flowers, settings)
    values = values_of(root, f"killed-{name}", base, flowers, settings, on_existing="resume")
    moment = random.Random(name)
    with running("finetune", values, root) as run:
        step = wait_for_step(run, str(values["output"]), 20 * moment.randint(1, 4))
        time.sleep(moment.uniform(0, MOST_SECONDS_MORE))
        run.kill_everything()
    assert step < KILLED_STEPS
    expected = weights(quiet)
    assert expected
    assert weights(complete("finetune", values, root)) == expected


def weights(model: Artifact) -> dict[str, str]:
    """Digests of its files of weights."""
    found = {entry.name: entry.sha256 for entry in model.manifest.files}
    return {name: found[name] for name in found if name.endswith(".safetensors")}

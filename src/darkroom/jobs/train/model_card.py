"""The model card: what the model is, what it learnt from, how to load it without Darkroom."""

from __future__ import annotations

from typing import Any

_CARD = """\
---
library_name: diffusers
tags: [diffusion, {conditioning}]
---

# {title}

A pixel-space diffusion model: diffusers' UNet2DModel, trained by Darkroom.

| | |
|---|---|
| images | {height} x {width}, {channels} channel(s), values scaled to [-1, 1] |
| classes | {classes} |
| noise schedule | {schedule}, {num_timesteps} timesteps |
| network predicts | {prediction_type} |
| optimizer steps | {step} |
| weights | exponential moving average |
| loss | {loss} |
| validation loss | {validation_loss} |
| training data | `{dataset_uri}` |
| data digest | `{dataset_digest}` |

## Use

```python
from diffusers import DDPMPipeline

pipeline = DDPMPipeline.from_pretrained("PATH_TO_THIS_FOLDER")
unet, scheduler = pipeline.unet, pipeline.scheduler
```
{usage}
"""

_CONDITIONAL = """
The network takes `class_labels`{guidance}. Denoise from noise `x`:

```python
scheduler.set_timesteps(50)
for t in scheduler.timesteps:
    x = scheduler.step(unet(x, t, class_labels=labels).sample, t, x).prev_sample
```"""

_UNCONDITIONAL = "\n`pipeline(batch_size=4).images` draws four images."


def model_card(
    metadata: dict[str, Any], *, conditional: bool, dataset_uri: str, dataset_digest: str
) -> str:
    """Markdown for a model artifact's metadata. `conditional`: the network takes labels."""
    final = metadata["final"]
    return _CARD.format(
        conditioning="class-conditional" if conditional else "unconditional",
        title="Class-conditional diffusion model" if conditional else "Diffusion model",
        height=metadata["image_size"][0],
        width=metadata["image_size"][1],
        channels=metadata["channels"],
        classes=", ".join(metadata["classes"]) or "none",
        schedule=metadata["schedule"]["kind"],
        num_timesteps=metadata["schedule"]["num_timesteps"],
        prediction_type=metadata["prediction_type"],
        step=metadata["step"],
        loss=_number(final["loss"]),
        validation_loss=_number(final["validation_loss"]),
        dataset_uri=dataset_uri,
        dataset_digest=dataset_digest,
        usage=_conditional_usage(metadata["null_class"]) if conditional else _UNCONDITIONAL,
    )


def _conditional_usage(null_class: int | None) -> str:
    guidance = f"; label {null_class} is the null class of classifier-free guidance"
    return _CONDITIONAL.format(guidance="" if null_class is None else guidance)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"

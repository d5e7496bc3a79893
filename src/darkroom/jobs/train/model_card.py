"""The model card: what the model is, what it learnt from, how to load it without Darkroom."""

from __future__ import annotations

from darkroom.jobs.artifacts.model import ModelInfo

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
| training data, by content | `{dataset_content}` |

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


def model_card(info: ModelInfo, *, dataset_content: str) -> str:
    """Markdown for a model. `dataset_content`: content digest of what it learnt from.

    Equal models have equal cards: no URI and no time stands in it.
    """
    conditional = info.class_conditional
    return _CARD.format(
        conditioning="class-conditional" if conditional else "unconditional",
        title="Class-conditional diffusion model" if conditional else "Diffusion model",
        height=info.shape.height,
        width=info.shape.width,
        channels=info.channels,
        classes=", ".join(info.classes) or "none",
        schedule=info.schedule.kind,
        num_timesteps=info.schedule.num_timesteps,
        prediction_type=info.prediction_type,
        step=info.step,
        loss=_number(info.final["loss"]),
        validation_loss=_number(info.final["validation_loss"]),
        dataset_content=dataset_content,
        usage=_conditional_usage(info.null_class) if conditional else _UNCONDITIONAL,
    )


def _conditional_usage(null_class: int | None) -> str:
    guidance = f"; label {null_class} is the null class of classifier-free guidance"
    return _CONDITIONAL.format(guidance="" if null_class is None else guidance)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"

"""The model card: base, data, what was trained, words that call it, how to load it."""

from __future__ import annotations

import re
from pathlib import Path

from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.finetune.config import FinetuneConfig

_CARD = """\
---
library_name: diffusers
license: {license}
tags: [{tags}]
---

# {title}

{what}, trained by Darkroom.

| | |
|---|---|
| base, by digest | `{base_digest}` |
| licence of the base | {license} |
| trigger words | {trigger} |
| trained at | {sizes} pixels |
| trained | {trained} |
| optimizer steps | {step} |
| weights | exponential moving average |
| loss | {loss} |
| validation loss | {validation_loss} |
| training data, by content | `{data_digest}` |

## Use

```python
from diffusers import DiffusionPipeline

{usage}
```
"""
_LORA = """\
pipeline = DiffusionPipeline.from_pretrained("PATH_TO_THE_BASE")
pipeline.load_lora_weights("PATH_TO_THIS_FOLDER")"""
_FULL = 'pipeline = DiffusionPipeline.from_pretrained("PATH_TO_THIS_FOLDER")'
UNKNOWN_LICENSE = "unknown"


def license_of(folder: Path) -> str:
    """What the base's own card says of its licence; "unknown" where it has none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNKNOWN_LICENSE
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = dict(re.findall(r"^(license(?:_name)?):\s*([\w.+ -]+?)\s*$", head, re.MULTILINE))
    return found.get("license_name") or found.get("license") or UNKNOWN_LICENSE


def model_card(config: FinetuneConfig, info: FinetunedInfo, *, title: str, data_digest: str) -> str:
    """Markdown for what was trained. Equal models have equal cards: no URI, no time.

    title: of the base's family. data_digest: of the content of what it learnt from.
    """
    lora = info.method == "lora"
    kind = "LoRA" if lora else "fine-tuned model"
    return _CARD.format(
        license=info.base_license,
        tags=", ".join(["text-to-image", "diffusers", *(["lora"] if lora else [])]),
        title=f"{title} {kind}",
        what=f"{'An adapter for a' if lora else 'A fine-tuned'} {title}",
        base_digest=info.base_digest,
        trigger=", ".join(f"`{word}`" for word in config.trigger_words) or "none",
        sizes=", ".join(f"{height} x {width}" for height, width in info.image_sizes),
        trained=_trained(config),
        step=info.step,
        loss=_number(info.final["loss"]),
        validation_loss=_number(info.final["validation_loss"]),
        data_digest=data_digest,
        usage=_LORA if lora else _FULL,
    )


def _trained(config: FinetuneConfig) -> str:
    text = " and text encoders" if config.text_encoder is not None else ""
    if config.method == "full":
        return f"all weights of the network{text}"
    lora = config.lora
    alpha = lora.scale * lora.rank
    layers = "attention" if lora.targets == "attention" else "all layers"
    return f"LoRA of rank {lora.rank}, alpha {alpha:g} (in the weights), on {layers}{text}"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"

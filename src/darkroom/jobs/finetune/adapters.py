"""What of a base is trained: LoRA beside frozen layers, or all of its weights.

peft adds the adapters, as it does for diffusers itself. Their names are those of the module that
they are in, `lora_A` and `lora_B`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.models.families.base import BaseModel
from darkroom.models.families.family import TEXT_LORA_ALL, TEXT_LORA_ATTENTION

_ADAPTER = ".default."
"""What peft puts into the names of an adapter's weights, and files leave out."""


def trained_components(config: FinetuneConfig, base: BaseModel) -> dict[str, Any]:
    """The network, and the text encoders that train along, by the names of their components."""
    components: dict[str, Any] = {base.family.network: base.network}
    if config.text_encoder is not None:
        encoders = base.text_encoders
        components |= {
            name: encoders[name] for name in base.family.trainable_text_encoders if name in encoders
        }
    return components


def lora_targets(config: FinetuneConfig, base: BaseModel, component: str) -> str:
    """Regular expression of the modules in `component` that get an adapter."""
    family, every = base.family, config.lora.targets == "all"
    if component == family.network:
        return family.lora_all if every else family.lora_attention
    return TEXT_LORA_ALL if every else TEXT_LORA_ATTENTION


def make_trainable(
    config: FinetuneConfig, base: BaseModel, component: str, module: nn.Module
) -> list[nn.Parameter]:
    """Add adapters where LoRA is asked for; returns what is trained of the module, as float32.

    Of a text encoder only what the family reads of it gets gradients: DDP refuses the others.
    """
    unread = unread_modules(base, component, module)
    if config.method == "full":
        module.to(torch.float32)
        return [each for name, each in module.named_parameters() if not _within(name, unread)]
    from peft import LoraConfig, inject_adapter_in_model

    wanted = lora_targets(config, base, component)
    targets = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
        and re.fullmatch(wanted, name)
        and not _within(name, unread)
    ]
    # Not `add_adapter`: diffusers and transformers have one each, which differ.
    inject_adapter_in_model(
        LoraConfig(
            r=config.lora.rank,
            lora_alpha=config.lora.scale * config.lora.rank,  # type: ignore[arg-type] # any number
            init_lora_weights="gaussian",
            target_modules=targets,
        ),
        module,
    )
    adapters = [each for name, each in module.named_parameters() if "lora_" in name]
    for adapter in adapters:
        adapter.data = adapter.data.float()  # peft makes them in the base's type
    return adapters


def unread_modules(base: BaseModel, component: str, module: nn.Module) -> tuple[str, ...]:
    """Names of a text encoder's last layers and norm, where nothing reads what comes out there."""
    skipped = base.family.unread_text_layers.get(component, 0)
    if not skipped:
        return ()
    layers = [name for name, part in module.named_modules() if isinstance(part, nn.ModuleList)]
    (stack,) = [name for name in layers if name.endswith("encoder.layers")]
    count = len(module.get_submodule(stack))  # type: ignore[arg-type] # a ModuleList has a length
    norm = f"{stack.removesuffix('encoder.layers')}final_layer_norm"
    return (*(f"{stack}.{number}" for number in range(count - skipped, count)), norm)


def _within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def lora_state(component: str, weights: Mapping[str, Tensor], *, scale: float) -> dict[str, Tensor]:
    """A component's adapters as diffusers and others read them, from a module's trained weights.

    The scale goes into B, so alpha equals the rank: the file draws the same where alpha is read
    from metadata (diffusers) and where it is not (ComfyUI).
    """
    state = {}
    for name, weight in weights.items():
        if name.startswith(f"{component}.") and "lora_" in name:
            inner = name.removeprefix(f"{component}.").replace(_ADAPTER, ".")
            if component.startswith("text_encoder") and not inner.startswith("text_model."):
                inner = f"text_model.{inner}"  # as every published file has it
            scaled = weight * scale if ".lora_B." in inner else weight
            state[f"{component}.{inner}"] = scaled.contiguous()
    return state

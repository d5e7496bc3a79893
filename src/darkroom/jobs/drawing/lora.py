"""A LoRA over the pipeline that draws: loaded only where every part of it fits the base.

diffusers warns where names are unknown and goes on, and the base's own picture would be published
under the LoRA's name. So names and shapes are compared first, and what was applied is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.drawing.config import LoraUse, TextOptions
from darkroom.models.files import tensor_shapes
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import open_artifact

NAME = "darkroom"
"""Of the adapter inside the pipeline."""
_ENDS = (
    (".lora_A.weight", 1),
    (".lora_B.weight", 0),
    (".lora.down.weight", 1),  # of older diffusers
    (".lora.up.weight", 0),
)
"""End of a name, and the axis that the base's own layer shares with it."""
_PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight"))
_OTHER_ENDS = {end: other for pair in _PAIRS for end, other in (pair, pair[::-1])}
"""What the other half of a change ends with: peft draws one that is missing at random."""

Shapes = Mapping[str, tuple[int, ...]]


def find_lora(config: TextOptions, base: FoundModel, *, prefix: str = "") -> FoundModel | None:
    """The adapter that is asked for. Errors: ConfigError where none lies there, or another base's
    does."""
    if config.lora is None:
        return None
    return find_adapter(config.lora, base, field=f"{prefix}lora", base_field=f"{prefix}model")


def find_adapter(
    use: LoraUse, base: FoundModel, *, field: str = "lora", base_field: str = "model"
) -> FoundModel:
    """A LoRA over `base`. field, base_field: where the config has the use and the base.

    Errors: as `find_lora`.
    """
    lora = find_model(use.model, field=f"{field}.model")
    _check_base(use, lora, base, field, base_field)
    _file_name(lora, f"{field}.model")
    return lora


def _check_base(
    use: LoraUse, lora: FoundModel, base: FoundModel, use_field: str, base_field: str
) -> None:
    """What Darkroom published says which base it belongs to."""
    if lora.manifest_digest is None:
        return
    field = f"{use_field}.model"
    info = FinetunedInfo.of(open_artifact(str(lora.uri)), field=field)
    if info.method != "lora":
        raise ConfigError(
            field, lora.name, "is a whole model and no LoRA", f"give it as {base_field}"
        )
    if info.base_digest != base.digest and not use.any_base:
        raise ConfigError(
            field, lora.name,
            f"was trained over another base ({info.base_digest[:12]}, not {base.digest[:12]})",
            f"give its own base as {base_field}, or set {use_field}.any_base for a relative",
        )  # fmt: skip


def load_lora(
    pipeline: Any, use: LoraUse, lora: FoundModel, *, field: str = "lora", name: str = NAME
) -> None:
    """Put the adapter into the pipeline with its weight, as `name`, and draw with it alone.

    Errors: ConfigError in one line.
    """
    field = f"{field}.model"
    with lora.local() as folder:
        path = folder / _file_name(lora, field)
        for problem in _faults(pipeline, tensor_shapes(path)):
            raise ConfigError(field, lora.name, problem, _REMEDY)
        try:
            pipeline.load_lora_weights(
                folder, weight_name=path.name, adapter_name=name, local_files_only=True,
                use_safetensors=True,
            )  # fmt: skip
        except Exception as error:  # peft and torch raise anything
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(field, lora.name, f"cannot be loaded ({reason})", _REMEDY) from error
    if not any(name in names for names in pipeline.get_list_adapters().values()):
        raise ConfigError(field, lora.name, "changes nothing of this base", _REMEDY)
    pipeline.set_adapters([name], [use.weight])


_REMEDY = "give a LoRA in diffusers' format that was trained over this base"


def _file_name(lora: FoundModel, field: str) -> str:
    names = [name for name, _ in lora.files if name.endswith(".safetensors")]
    if len(names) != 1 or "/" in names[0]:
        raise ConfigError(
            field, lora.name, f"holds {len(names)} files of weights, and a LoRA is one", _REMEDY
        )
    return names[0]


def _faults(pipeline: Any, shapes: Shapes) -> Iterator[str]:
    """What does not fit: names of another tool or family first, then sizes."""
    for name, shape in shapes.items():
        component, _, inner = name.partition(".")
        module = pipeline.components.get(component)
        end, axis = next((each for each in _ENDS if name.endswith(each[0])), ("", 0))
        if not end or module is None or not hasattr(module, "get_submodule"):
            yield f"has a name that is not diffusers' for this family ({name})"
            continue
        layer = _layer(module, inner.removesuffix(end))
        if layer is None:
            yield f"changes a layer that the base does not have ({name.removesuffix(end)})"
        elif (other := shapes.get(name.removesuffix(end) + _OTHER_ENDS[end])) is None:
            yield f"has one half of a change only ({name})"
        elif not _rank(shape, axis) or _rank(shape, axis) != _rank(other, 1 - axis):
            yield (
                f"has halves of no common rank: {name} has shape {list(shape)}, and the other "
                f"{list(other)}"
            )
        elif shape[axis] != layer.weight.shape[axis]:
            yield (
                f"does not fit the base: {name} has shape {list(shape)}, and the layer "
                f"{list(layer.weight.shape)}"
            )


def _rank(shape: tuple[int, ...], axis: int) -> int:
    """Of a half whose axis `axis` is the layer's; 0 for what is none."""
    return shape[1 - axis] if len(shape) >= 2 else 0


def _layer(module: Any, name: str) -> Any:
    for each in (name, name.removeprefix("text_model.")):
        try:
            return module.get_submodule(each)
        except AttributeError:
            continue
    return None

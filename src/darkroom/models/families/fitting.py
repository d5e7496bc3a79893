"""Whether a family's folder is whole and its weights are those of its configs, without loading it.

A few tensors of each network tell its sizes; their shapes stand in the files' headers. So a driver
with little memory refuses what a worker could not load. What only loading shows, loading says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from darkroom.errors import ConfigError
from darkroom.messages import quoted
from darkroom.models.families.family import Family
from darkroom.models.families.find import INDEX_NAME, json_object
from darkroom.models.find import FoundModel

Shape = tuple[int | None, ...]
"""None stands for any size."""
_Values = Mapping[str, Any]
_CONFIG = "config.json"
_SCHEDULER_PART = "scheduler"
_SCHEDULER = "scheduler/scheduler_config.json"
_TEXT_PARTS = ("text_encoder", "tokenizer")
_LIBRARIES = ("diffusers", "transformers")
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_MAX_TIMESTEPS = 1_000_000


def check_folder(model: FoundModel, family: Family, *, field: str) -> None:
    """Refuse a folder in which a part, a config or a weight is missing or of another shape.

    Errors: ConfigError naming `field`.
    """

    def refuse(reason: str) -> ConfigError:
        return ConfigError(
            field, model.name, f"cannot be loaded ({reason})",
            "give a diffusers folder with safetensors",
        )  # fmt: skip

    if reason := _unknown_part(model, family) or _unknown_schedule(model, family):
        raise refuse(reason)
    index = json_object(model.read(INDEX_NAME)) or {}
    for part in _networks(index, family):
        config = json_object(model.read(f"{part}/{_CONFIG}"))
        if config is None:
            raise refuse(f"there is no {part}/{_CONFIG}")
        if reason := _of_another_kind(part, index[part][1], config):
            raise refuse(reason)
        if not model.folders_bytes([part]):
            raise refuse(f"its {part} has no weights")
        shapes = model.tensor_shapes(part)
        if shapes is not None and (reason := _unlike(shapes, config)):
            raise refuse(f"of its {part}, {reason}")


def _unknown_part(model: FoundModel, family: Family) -> str | None:
    """What in the index names no class, or nothing that lies there."""
    index = json_object(model.read(INDEX_NAME)) or {}
    names = {*index, family.network, "vae", _SCHEDULER_PART}
    folders = {name.partition("/")[0] for name, _ in model.files}
    for part in sorted(name for name in names if _is_read(name, family)):
        made_by = index.get(part)
        if not isinstance(made_by, list) or len(made_by) != 2:
            return f"its {INDEX_NAME} names no class of its {part}"
        if made_by[1] is None and part.startswith(_TEXT_PARTS):
            continue  # SD3 without its T5
        if not all(isinstance(name, str) for name in made_by):
            return f"its {INDEX_NAME} names no class of its {part}"
        if made_by[0] not in _LIBRARIES:
            return f"its {INDEX_NAME} has its {part} from {made_by[0]!r}"
        if part.startswith("tokenizer") and part not in folders:
            return f"there is no {part}"
    return None


def _is_read(part: str, family: Family) -> bool:
    return part in (family.network, "vae", _SCHEDULER_PART) or part.startswith(_TEXT_PARTS)


def _unknown_schedule(model: FoundModel, family: Family) -> str | None:
    scheduler = json_object(model.read(_SCHEDULER))
    if scheduler is None:
        return f"there is no {_SCHEDULER}"
    steps = scheduler.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= _MAX_TIMESTEPS:
        return f"the num_train_timesteps of its {_SCHEDULER_PART} is {quoted(steps)}"
    asked = scheduler.get("prediction_type", "epsilon")
    if family.objective == "diffusion" and asked not in _PREDICTIONS:
        return f"the prediction_type of its {_SCHEDULER_PART} is {quoted(asked)}"
    return None


def _of_another_kind(part: str, made_by: str, config: _Values) -> str | None:
    """Libraries load one class from another's files, with random weights for what it lacks."""
    found = _class_of(config)
    if {made_by, found} <= _WITNESSES.keys() and _WITNESSES[made_by] != _WITNESSES[found]:
        return f"its {INDEX_NAME} has {made_by} as its {part}, and {part}/{_CONFIG} {found}"
    return None


def _networks(index: _Values, family: Family) -> Iterator[str]:
    yield from (family.network, "vae")
    for part, made_by in index.items():
        if part.startswith("text_encoder") and isinstance(made_by, list) and made_by[-1]:
            yield part


def _unlike(shapes: Mapping[str, tuple[int, ...]], config: _Values) -> str | None:
    """What in the files is not as the config says, of what the config's class is known to have."""
    wanted = dict(_wanted(config))
    found = {name: shape for name in wanted if (shape := _shape(shapes, name)) is not None}
    if wanted and not found:  # a few may lie there under names of old
        return f"there is no {' and no '.join(wanted)}"
    for name, shape in found.items():
        if not _fits(shape, wanted[name]):
            shown = ["any" if size is None else size for size in wanted[name]]
            return f"{name} has the shape {list(shape)}, and its config says {shown}"
    return None


def _wanted(config: _Values) -> Iterator[tuple[str, Shape]]:
    """Tensors and the shapes that the config gives them; none for a class that is not known."""
    witnesses = _WITNESSES.get(_class_of(config))
    if witnesses is not None:
        try:
            yield from witnesses(config)
        except (KeyError, TypeError, IndexError):  # its library has a default, or says it better
            return


def _class_of(config: _Values) -> str:
    return str(config.get("_class_name") or next(iter(config.get("architectures") or ()), None))


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...] | None:
    """transformers has written its names with a prefix and without."""
    return next((shape for each, shape in shapes.items() if _is(each, name)), None)


def _is(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(
        size is None or size == own for own, size in zip(found, wanted, strict=True)
    )


def _unet(config: _Values) -> Iterator[tuple[str, Shape]]:
    first, width = config["block_out_channels"][0], config["cross_attention_dim"]
    yield "conv_in.weight", (first, config["in_channels"], 3, 3)
    yield "conv_out.weight", (config["out_channels"], first, 3, 3)
    if isinstance(width, int):
        yield "attn2.to_k.weight", (None, width)
    given = config.get("projection_class_embeddings_input_dim")
    if given is not None:
        yield "add_embedding.linear_1.weight", (None, given)


def _sd3(config: _Values) -> Iterator[tuple[str, Shape]]:
    inner, patch = _inner(config), config["patch_size"]
    yield "pos_embed.proj.weight", (inner, config["in_channels"], patch, patch)
    yield (
        "context_embedder.weight",
        (config["caption_projection_dim"], config["joint_attention_dim"]),
    )
    yield "text_embedder.linear_1.weight", (None, config["pooled_projection_dim"])


def _flux(config: _Values) -> Iterator[tuple[str, Shape]]:
    yield "x_embedder.weight", (_inner(config), config["in_channels"])
    yield "context_embedder.weight", (_inner(config), config["joint_attention_dim"])
    yield "text_embedder.linear_1.weight", (None, config["pooled_projection_dim"])


def _inner(config: _Values) -> int:
    return int(config["num_attention_heads"]) * int(config["attention_head_dim"])


def _vae(config: _Values) -> Iterator[tuple[str, Shape]]:
    channels, latents = config["block_out_channels"], config["latent_channels"]
    yield "encoder.conv_in.weight", (channels[0], config["in_channels"], 3, 3)
    yield "decoder.conv_in.weight", (channels[-1], latents, 3, 3)


def _clip(config: _Values) -> Iterator[tuple[str, Shape]]:
    width = config["hidden_size"]
    yield "token_embedding.weight", (config["vocab_size"], width)
    yield "position_embedding.weight", (config["max_position_embeddings"], width)


def _t5(config: _Values) -> Iterator[tuple[str, Shape]]:
    yield "shared.weight", (config["vocab_size"], config["d_model"])


_WITNESSES: Mapping[str, Callable[[_Values], Iterator[tuple[str, Shape]]]] = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "AutoencoderKL": _vae,
    "CLIPTextModel": _clip,
    "CLIPTextModelWithProjection": _clip,
    "T5EncoderModel": _t5,
}

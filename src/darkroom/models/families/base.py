"""A model of one of the families, loaded: diffusers' pipeline of it, and what is in there.

The pipeline encodes texts and draws; training calls its network. Loads safetensors only, and
nothing that is not in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from darkroom.models.families.family import Family, TextEmbedding
from darkroom.models.families.find import find_family
from darkroom.models.files import weight_names
from darkroom.models.find import unloadable


@dataclass(frozen=True)
class BaseModel:
    """A pipeline and its family."""

    family: Family
    pipeline: Any
    vae_config: Mapping[str, Any]
    """Of the autoencoder, with diffusers' defaults in it; also where its weights are left out."""

    @property
    def network(self) -> Any:
        """What is trained."""
        return self.pipeline.components[self.family.network]

    @property
    def vae(self) -> Any:
        """The autoencoder; None where it was left out."""
        return self.pipeline.vae

    @property
    def text_encoders(self) -> dict[str, Any]:
        """Those that are there, by the names of their components."""
        return {
            name: component
            for name, component in self.pipeline.components.items()
            if name.startswith("text_encoder") and component is not None
        }

    def encode_text(self, captions: Sequence[str]) -> TextEmbedding:
        """The captions' embedding, just as the pipeline gives it to its network."""
        return self.family.encode_text(self.pipeline, captions)

    @property
    def drops_text_to_zeros(self) -> bool:
        """Whether "no text" is an embedding of zeros (SDXL), and not that of the empty text."""
        return bool(self.pipeline.config.get("force_zeros_for_empty_prompt", False))

    def truncated(self, caption: str) -> int:
        """How many tokens the CLIP encoder that cuts most leaves out of the caption."""
        cut = 0
        for name, component in self.pipeline.components.items():
            if name.startswith("tokenizer") and component is not None:
                number = len(component(caption, truncation=False, verbose=False).input_ids)
                cut = max(cut, number - int(component.model_max_length))
        return cut


def load_base(
    folder: Path,
    *,
    field: str,
    name: str,
    dtype: torch.dtype = torch.float32,
    whole: bool = False,
    with_network: bool = True,
    with_vae: bool = True,
    with_text: bool = True,
) -> BaseModel:
    """The folder's model on the CPU in evaluation mode; all but the VAE in `dtype`.

    The VAE stays float32: SDXL's overflows in half precision. whole: with a safety checker, where
    the folder has one, which training has no use for. with_network: False for a model that only
    encodes. with_vae, with_text: False where encodings are at hand; the text encoders' or the VAE's
    weights are not read then.
    Errors: ConfigError naming `field` for a folder of no family, and what does not load.
    """
    import diffusers
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    family = find_family(folder, field=field, name=name)
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    pipeline_class = getattr(diffusers, family.pipeline)
    wanted = {"safety_checker": whole, family.network: with_network, "vae": with_vae}
    left_out = {
        name: None
        for name in _parts(folder)
        if not wanted.get(name, with_text or not name.startswith("text_encoder"))
    }
    try:
        pipeline = pipeline_class.from_pretrained(
            folder, dtype={"default": dtype, "vae": torch.float32}, use_safetensors=True,
            local_files_only=True, **left_out,
        )  # fmt: skip
        check_weights(pipeline, folder)
        vae_config = pipeline.vae.config if with_vae else _vae_config(folder)
    except Exception as error:  # a file that lies raises anything
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        raise unloadable(
            folder, error, field=field, model=name,
            remedy="give a diffusers folder with safetensors",
        ) from error  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return BaseModel(family, pipeline, vae_config)


def _parts(folder: Path) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads((folder / "model_index.json").read_bytes())
    return parts


def _vae_config(folder: Path) -> Mapping[str, Any]:
    """What a loaded VAE would have as its config."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):  # no weight is made
        config: Mapping[str, Any] = AutoencoderKL.from_config(
            AutoencoderKL.load_config(folder / "vae", local_files_only=True)
        ).config
    return config


def check_weights(pipeline: Any, folder: Path) -> None:
    """Errors: ValueError where a network lacks a weight, or so many of them that the file's are
    those of another, or under other names: libraries draw with random ones then."""
    from diffusers import ModelMixin

    for name, component in pipeline.components.items():
        if isinstance(component, nn.Module) and (names := weight_names(folder / name)):
            own = component.state_dict().keys()
            exact = isinstance(component, ModelMixin)
            missing = sorted(own - names) if exact else _missing(own, names)
            if 2 * len(missing) > len(own):  # libraries know a few names of old
                raise ValueError(
                    f"{len(missing)} weights of its {name} are not there, first {missing[0]}"
                )
            for weight, value in component.named_parameters():
                if value.is_meta:
                    raise ValueError(f"of its {name}, {weight} is not there")


def _missing(own: Iterable[str], names: set[str]) -> list[str]:
    """Those of a network's names that no file has, with a prefix of either's or without, as
    transformers has written them."""
    ends = {end for name in names for end in _ends(name)}
    return sorted(name for name in own if name not in ends and not names & {*_ends(name)})


def _ends(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[at:]) for at in range(len(parts)))

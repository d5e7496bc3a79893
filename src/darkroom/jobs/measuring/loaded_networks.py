"""The networks of `networks.py`, loaded: pictures uint8 (B, 3, H, W) to features (B, D).

Foreign code is held at arm's length: weights are read as tensors alone (torch-fidelity would
unpickle them), from files that were verified, and nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import ConfigError
from darkroom.jobs.measuring.comparison import CLIP, CUT, TEXT
from darkroom.models.families.find import json_object
from darkroom.models.find import FoundModel, unloadable
from darkroom.models.state import fit_state, read_state

if TYPE_CHECKING:
    from darkroom.jobs.measuring.networks import NetworkExtractor

Network = Callable[[NDArray[np.uint8], Sequence[str | None]], Mapping[str, Tensor]]

_DINOV2_SIDE = 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def load(extractor: NetworkExtractor, device: torch.device, dtype: torch.dtype) -> Network:
    """The network of an extractor, on its device. Errors: ConfigError, DataError."""
    if extractor.name == "inception":
        return _inception(extractor.model, device)
    if extractor.name == "timm":
        return _timm(extractor.variant, extractor.model, device, dtype)
    if extractor.name == "dinov2":
        return _dinov2(extractor.model, device, dtype)
    return _clip(extractor.model, device, dtype)


def _inception(found: FoundModel, device: torch.device) -> Network:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    where = "networks.inception.weights"
    with found.local() as folder, tempfile.TemporaryDirectory() as temporary:
        state, _ = read_state(folder / found.files[0][0], where=found.name, field=where)
        path = Path(temporary) / "weights.pth"
        torch.save(dict(state), path)  # it loads pickles only: one of tensors, written here
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        except RuntimeError as error:
            raise ConfigError(
                where, found.name, "are no weights of torch-fidelity's Inception v3",
                "give weights-inception-2015-12-05-6726825d.pth of its release v0.2.0",
            ) from error  # fmt: skip
    network.to(device).eval()

    def features(images: NDArray[np.uint8], _: Sequence[str | None]) -> Mapping[str, Tensor]:
        (rows,) = network(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        return {"inception": rows}

    return features


def _timm(name: str, found: FoundModel, device: torch.device, dtype: torch.dtype) -> Network:
    import timm
    from timm.data import resolve_data_config

    where = "networks.timm.weights"
    with found.local() as folder:
        state, _ = read_state(folder / found.files[0][0], where=found.name, field=where)
    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=_num_classes(state))
    except RuntimeError as error:
        raise ConfigError(
            "networks.timm.name", name, "is no network of timm",
            "see timm.list_models()",
        ) from error  # fmt: skip
    fit_state(network, state, where=found.name, field=where)
    data = resolve_data_config({}, model=network)
    network.to(device, dtype).eval()
    filter_ = {"bilinear": Image.Resampling.BILINEAR}.get(
        data["interpolation"], Image.Resampling.BICUBIC
    )
    prepare = _Preparation(data["input_size"][-1], (data["mean"], data["std"]), filter_)

    def features(images: NDArray[np.uint8], _: Sequence[str | None]) -> Mapping[str, Tensor]:
        given = prepare(images).to(device, dtype)
        return {"timm": network.forward_head(network.forward_features(given), pre_logits=True)}

    return features


def _num_classes(state: Mapping[str, Any]) -> int:
    """Of the classifier that the weights end with: the last bias is its."""
    heads = [value for name, value in state.items() if name.endswith(".bias") and value.ndim == 1]
    return len(heads[-1]) if heads else 1000


def _dinov2(found: FoundModel, device: torch.device, dtype: torch.dtype) -> Network:
    network = _of_transformers(found, "networks.dinov2.model", "Dinov2Model").to(device, dtype)
    prepare = _Preparation(_DINOV2_SIDE, _IMAGENET)

    def features(images: NDArray[np.uint8], _: Sequence[str | None]) -> Mapping[str, Tensor]:
        return {"dinov2": network(prepare(images).to(device, dtype)).last_hidden_state[:, 0]}

    return features


def _clip(found: FoundModel, device: torch.device, dtype: torch.dtype) -> Network:
    field = "networks.clip.model"
    network = _of_transformers(found, field, "CLIPModel").to(device, dtype)
    config: Any = network.config
    prepare = _Preparation(config.vision_config.image_size, _CLIP)
    longest: int = config.text_config.max_position_embeddings
    tokenizer = _tokenizer(found, field)

    def texts(prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Unit vectors, of zeros where there is no prompt; and 1 where one was cut."""
        vectors = torch.zeros(len(prompts), config.projection_dim)
        cut = torch.zeros(len(prompts), 1)
        given = [at for at, prompt in enumerate(prompts) if prompt is not None]
        for at in given:
            prompt = prompts[at]
            cut[at] = len(tokenizer(prompt)["input_ids"]) > longest
        if given:
            # The tokenizer cuts before the end token, which the network pools at.
            tokens = tokenizer(
                [prompts[at] for at in given], padding=True, truncation=True, max_length=longest,
                return_tensors="pt",
            )  # fmt: skip
            found_texts = network.get_text_features(**tokens.to(device)).pooler_output
            vectors[given] = functional.normalize(found_texts.float(), dim=-1).cpu()
        return vectors, cut

    def features(images: NDArray[np.uint8], prompts: Sequence[str | None]) -> Mapping[str, Tensor]:
        seen = network.get_image_features(prepare(images).to(device, dtype)).pooler_output
        vectors, cut = texts(prompts)
        return {CLIP: functional.normalize(seen.float(), dim=-1), TEXT: vectors, CUT: cut}

    return features


def _of_transformers(found: FoundModel, field: str, class_name: str) -> Any:
    """A frozen network of the folder, float32, in evaluation mode. Errors: ConfigError."""
    import transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    wanted: Any = getattr(transformers, class_name)
    remedy = "give a transformers folder with safetensors"
    with found.local() as folder:
        file = folder / "config.json"
        config = json_object(file.read_bytes() if file.is_file() else None) or {}
        kind = config.get("model_type")
        if not isinstance(kind, str):
            raise ConfigError(field, found.name, "names no model_type in a config.json", remedy)
        if kind != wanted.config_class.model_type:
            raise ConfigError(
                field, found.name, f"holds a {kind}, not a {wanted.config_class.model_type}",
                "give the folder of such a network",
            )  # fmt: skip
        try:
            network: nn.Module = wanted.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
        except Exception as error:  # a file that lies raises anything
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            raise unloadable(folder, error, field=field, model=found.name, remedy=remedy) from error
    return network.eval().requires_grad_(False)  # noqa: FBT003


def _tokenizer(found: FoundModel, field: str) -> Any:
    from transformers import AutoTokenizer

    with found.local() as folder:
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise ConfigError(
                field, found.name, "has no tokenizer that can be loaded",
                "give a folder with the tokenizer's files beside the weights",
            ) from error  # fmt: skip


class _Preparation:
    """Pictures uint8 (B, 3, H, W) to a square of the network's size, normalised."""

    def __init__(
        self, side: int, statistics: tuple[Sequence[float], Sequence[float]],
        resample: Image.Resampling = Image.Resampling.BICUBIC,
    ) -> None:  # fmt: skip
        self._side, self._resample = side, resample
        self._mean, self._std = (torch.tensor(value).view(1, 3, 1, 1) for value in statistics)

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        resized = [
            np.asarray(
                Image.fromarray(image.transpose(1, 2, 0)).resize(
                    (self._side, self._side), self._resample
                )
            )
            for image in images
        ]
        pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
        return (pixels - self._mean) / self._std

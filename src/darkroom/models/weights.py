"""Weights of a classifier: where they are, their digest, and the model that has them.

Weights come from a file (a path or an s3:// URI; safetensors, or a PyTorch state dict read with
weights_only), from the library's own hub when asked for by name, or at random (to measure speed,
not pictures). The driver finds their digest, and every worker holds what it loads against it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from darkroom.errors import ConfigError, IntegrityError
from darkroom.messages import first_line
from darkroom.models.classifier import Classifier
from darkroom.models.find import FoundModel, find_file
from darkroom.models.state import FIELD, fit_state, read_state
from darkroom.storage.manifest import digest_of_files

RANDOM = "random"
HUB = "hub"

_log = logging.getLogger("darkroom.models")


@dataclass(frozen=True, slots=True)
class Weights:
    """Which weights, and their digest: of the file, or of the tensors where there is no file."""

    source: str
    """"random", "hub", "hub:<name>", or the file's URI."""
    digest: str
    seed: int = 0
    """Of random weights."""
    file: FoundModel | None = None


def find_weights(classifier: Classifier, source: str, *, seed: int) -> Weights:
    """Where the weights are and their digest, after they have fitted the model once.

    Errors: ConfigError (no such file; unknown weights of the hub, or it cannot be reached),
    DataError (weights of another model), UriError.
    """
    if source in (RANDOM, HUB) or source.startswith(f"{HUB}:"):
        model = _build(classifier, source, seed)
        return Weights(source, state_digest(model.state_dict()), seed)
    remedy = "name a file, 'hub' for the published weights, or 'random'"
    file = find_file(source, field=FIELD, remedy=remedy)
    # What does not fit is said before any work.
    if place := _fit(_build(classifier, RANDOM, seed), file):
        _log.info("%s: the weights are those under %r", source, place)
    return Weights(source, file.digest, seed, file)


def load_classifier(classifier: Classifier, weights: Weights) -> nn.Module:
    """The model with its weights, in evaluation mode, on the CPU.

    Errors: IntegrityError when the weights are not those of the digest, DataError when they do
    not fit the model.
    """
    if weights.file is not None:
        model = _build(classifier, RANDOM, weights.seed)
        _fit(model, weights.file)
        return model.eval()
    model = _build(classifier, weights.source, weights.seed)
    if state_digest(model.state_dict()) != weights.digest:
        raise IntegrityError(
            f"{classifier.name}: this worker made other weights from {weights.source!r} than"
            " the driver; give a file of weights, or equal versions of torch everywhere"
        )
    return model.eval()


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """`digest_of_files` of tensors: their names, types, shapes and bytes."""
    return digest_of_files(
        (f"{name} {tensor.dtype} {list(tensor.shape)}", tensor.nbytes, _sha256(tensor))
        for name, tensor in state.items()
    )


def _sha256(tensor: torch.Tensor) -> str:
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy().data).hexdigest()


def _fit(model: nn.Module, file: FoundModel) -> str:
    """Fit the file's tensors onto the model; returns where in it they were ("" for plainly)."""
    with file.local() as folder:
        state, wrapper = read_state(folder / file.files[0][0], where=file.name)
    prefix = fit_state(model, state, where=file.name)
    return ".".join(part for part in (wrapper, prefix.rstrip(".")) if part)


def _build(classifier: Classifier, source: str, seed: int) -> nn.Module:
    _, _, hub_name = source.partition(":")
    pretrained = source != RANDOM
    try:
        # Random weights belong to the seed alone, whatever was drawn in this process before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _built(classifier, hub_name, pretrained=pretrained)
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        if not pretrained:
            raise
        reason = first_line(error)
        raise ConfigError(
            "model.weights", source, f"cannot be had from the hub ({reason})",
            "name a file of weights (a path or an s3:// URI), which needs no network",
        ) from error  # fmt: skip


def _built(classifier: Classifier, hub_name: str, *, pretrained: bool) -> nn.Module:
    num_classes = len(classifier.labels)
    if classifier.library == "torchvision":
        from torchvision import models

        weights: Any = None
        if pretrained:
            known: Any = models.get_model_weights(classifier.name)
            weights = known[hub_name] if hub_name else known.DEFAULT
        extra = {} if pretrained else {"num_classes": num_classes}
        if classifier.name in ("googlenet", "inception_v3") and not pretrained:
            extra["init_weights"] = True
        model: nn.Module = models.get_model(classifier.name, weights=weights, **extra)
        return model
    import timm

    overlay = {"hf_hub_id": hub_name} if hub_name else None
    made: nn.Module = timm.create_model(
        classifier.name,
        pretrained=pretrained,
        num_classes=num_classes,
        pretrained_cfg_overlay=overlay,
    )
    return made

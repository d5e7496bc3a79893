"""Weights: found by file, by seed, and refused when they are another model's."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.errors import ConfigError, DataError, IntegrityError
from darkroom.models.classifier import describe_classifier, with_labels
from darkroom.models.weights import Weights, find_weights, load_classifier, state_digest

SMALL = with_labels(describe_classifier("timm", "mobilenetv3_small_050"), ("cat", "dog", "cup"))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_classifier(SMALL, find_weights(SMALL, "random", seed=3)).state_dict()


def test_random_weights_belong_to_the_seed_alone() -> None:
    first = find_weights(SMALL, "random", seed=3)
    torch.manual_seed(99)
    assert find_weights(SMALL, "random", seed=3) == first
    assert find_weights(SMALL, "random", seed=4).digest != first.digest
    with pytest.raises(IntegrityError, match="other weights"):
        load_classifier(SMALL, Weights("random", first.digest, seed=4))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "wrapped", "data parallel"])
def test_files_of_every_usual_form(
    kind: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    match kind:
        case "safetensors":
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        case "pth":
            torch.save(state, path)
        case "wrapped":
            torch.save({"state_dict": state, "epoch": 3}, path)
        case "data parallel":
            torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    weights = find_weights(SMALL, str(path), seed=0)
    assert state_digest(load_classifier(SMALL, weights).state_dict()) == state_digest(state)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match="has changed since"):
        load_classifier(SMALL, weights)


class Evil:
    """What a pickle from outside may do."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("kind", ["code", "text", "list", "other shape", "other model"])
def test_files_that_are_no_such_weights_are_refused_in_one_line(
    kind: str, state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    match kind:
        case "code":
            path.write_bytes(pickle.dumps(Evil()))
        case "text":
            path.write_text("{}")
        case "list":
            torch.save([1, 2], path)
        case "other shape":
            torch.save({**state, "classifier.bias": torch.zeros(7)}, path)
        case "other model":
            torch.save({"fc.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(DataError, match=r"model\.weights") as caught:
        find_weights(SMALL, str(path), seed=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_the_users_to_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        find_weights(SMALL, str(tmp_path / "none.safetensors"), seed=0)

"""The enhancing stage on a tiny model: answers belong to rows, and none is lost without a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.helpers.language_models import save_tiny_language_model

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.generate.config import EnhanceConfig
from darkroom.jobs.generate.enhance import Enhancer, one_line
from darkroom.jobs.generate.preflight import resolve_backend
from darkroom.jobs.rejects import Rejects
from darkroom.models.find import find_model

PROMPTS = ["a fox", "an owl in the snow at night", "a cat", "two dogs", "a wren"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("llm") / "chat")


def enhancer(model: Path, **values: Any) -> Enhancer:
    settings = {
        "model": str(model), "max_new_tokens": 12, "system_prompt": "be brief", **values
    }  # fmt: skip
    folder = find_model(str(model), field="enhance.model")
    return Enhancer(settings, folder=folder, backend="transformers", seed=3)


def table(prompts: list[str]) -> pa.Table:
    return pa.table({"id": [f"r{n}" for n in range(len(prompts))], "prompt": prompts})


def answers(model: Path, prompts: list[str] = PROMPTS, **values: Any) -> list[str]:
    result = enhancer(model, **values)(table(prompts), Rejects("enhance"))
    assert result["id"].to_pylist() == [f"r{n}" for n in range(len(prompts))]
    texts: list[str] = result["enhanced_prompt"].to_pylist()
    return texts


@pytest.mark.parametrize("values", [{}, {"temperature": 0.9, "top_p": 0.9}, {"temperature": 2.0}])
def test_a_redone_piece_is_equal_and_batches_do_not_mix(
    model: Path, values: dict[str, Any]
) -> None:
    first = answers(model, batch_size=2, **values)
    assert answers(model, batch_size=2, **values) == first
    assert answers(model, batch_size=1, **values) == first
    assert answers(model, batch_size=8, **values) == first
    assert len(set(first)) > 1


def test_sampling_is_seeded_by_the_row(model: Path) -> None:
    same_prompt = answers(model, ["a fox"] * 4, temperature=1.5)
    assert len(set(same_prompt)) > 1
    assert len(set(answers(model, ["a fox"] * 4))) == 1, "greedy answers know no seed"


def test_the_settings_reach_the_model(model: Path) -> None:
    plain = answers(model)
    assert answers(model, system_prompt="shout") != plain
    longer = answers(model, max_new_tokens=24)
    assert longer != plain
    assert all(text.startswith(begin) for text, begin in zip(longer, plain, strict=True))


def test_a_model_without_a_chat_form_goes_on_writing(tmp_path: Path) -> None:
    base = save_tiny_language_model(tmp_path / "base", chat=False)
    assert len(answers(base)) == len(PROMPTS)


def test_a_prompt_that_does_not_fit_the_context_is_rejected(model: Path) -> None:
    rejects = Rejects("enhance")
    result = enhancer(model)(table(["a fox", "x" * 200, "an owl"]), rejects)
    assert result["id"].to_pylist() == ["r0", "r2"]
    (reject,) = rejects.found
    assert (reject.id, reject.reason) == ("r1", "too_long")
    assert "leaves 116" in reject.detail


class Mute:
    """Answers with the texts that it was given."""

    max_prompt_tokens = 10

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def num_tokens(self, _prompt: str) -> int:
        return 1

    def answer(self, prompts: Sequence[str], _seeds: Sequence[int]) -> list[str]:
        return [self._texts.pop(0) for _ in prompts]


def test_an_answer_without_a_word_is_rejected(model: Path) -> None:
    stage = enhancer(model)
    stage._model = Mute([" fine\n answer\x00!", "", " . \n", "ok"])
    rejects = Rejects("enhance")
    result = stage(table(["1", "2", "3", "4"]), rejects)
    assert result["enhanced_prompt"].to_pylist() == ["fine answer !", "ok"]
    assert [(r.id, r.reason) for r in rejects.found] == [
        ("r1", "empty_answer"),
        ("r2", "empty_answer"),
    ]


def test_a_text_becomes_one_line_that_any_encoder_takes() -> None:
    assert one_line(" a\t b\r\n\x00c \ud800d ") == "a b c d"


def test_a_folder_without_a_language_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"enhance\.model.*cannot be loaded"):
        enhancer(tmp_path)


def test_vllm_is_taken_only_where_it_is() -> None:
    def backend(**values: Any) -> str:
        return resolve_backend(build_config(EnhanceConfig, values))

    assert backend() == "transformers"
    assert backend(num_gpus=0.5) == "transformers"  # not installed with these libraries
    with pytest.raises(ConfigError, match="is not installed here"):
        backend(backend="vllm")

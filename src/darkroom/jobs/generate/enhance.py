"""The stage that lets a language model rewrite each prompt.

Adds `enhanced_prompt`. An answer becomes one line without control characters; what then has no
word in it is rejected, as is a prompt that does not fit into the model's context.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.jobs.generate.config import EnhanceConfig
from darkroom.jobs.generate.seeding import row_seed
from darkroom.jobs.rejects import Rejects
from darkroom.models.find import FoundModel

PURPOSE = "enhance"


class Enhancer:
    """The stage's function, holding the model."""

    def __init__(
        self, config: Mapping[str, Any], *, folder: FoundModel, backend: str, seed: int
    ) -> None:
        from darkroom.jobs.generate.language_model import load_language_model  # imports torch

        self._config = build_config(EnhanceConfig, config)
        self._model = load_language_model(self._config, folder, backend)
        self._seed = seed

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        ids: list[str] = table["id"].to_pylist()
        prompts: list[str] = table["prompt"].to_pylist()
        fitting = [row for row in range(len(ids)) if self._fits(ids[row], prompts[row], rejects)]
        kept: list[int] = []
        answers: list[str] = []
        for start in range(0, len(fitting), self._config.batch_size):
            rows = fitting[start : start + self._config.batch_size]
            for row, text in zip(rows, self._answer(rows, ids, prompts), strict=True):
                line = one_line(text)
                if any(letter.isalnum() for letter in line):
                    kept.append(row)
                    answers.append(line)
                else:
                    rejects.add(ids[row], "empty_answer", f"the model answered {text[:60]!r}")
        return table.take(pa.array(kept, pa.int64())).append_column(
            pa.field("enhanced_prompt", pa.string()), pa.array(answers, pa.string())
        )

    def _answer(self, rows: Sequence[int], ids: Sequence[str], prompts: Sequence[str]) -> list[str]:
        return self._model.answer(
            [prompts[row] for row in rows],
            [row_seed(self._seed, PURPOSE, ids[row]) for row in rows],
        )

    def _fits(self, row_id: str, prompt: str, rejects: Rejects) -> bool:
        length = self._model.num_tokens(prompt)
        if length > self._model.max_prompt_tokens:
            rejects.add(
                row_id, "too_long",
                f"{length} tokens, the model's context leaves {self._model.max_prompt_tokens}",
            )  # fmt: skip
        return length <= self._model.max_prompt_tokens


def one_line(text: str) -> str:
    """The text on one line: runs of spaces, line ends and control characters as one space."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(spaced.split())

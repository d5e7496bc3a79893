"""A language model that answers batches of requests: transformers here, vLLM where it is.

Both keep one contract: `answer(prompts, seeds)` gives one text per prompt, and a row's text
depends on its prompt, its seed and the settings (and, in the last bit of the arithmetic, on the
batch, which a piece fixes). Cleaning and judging answers is `enhance.py`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from darkroom.errors import DarkroomError
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.drawing.device import DTYPES, prepare_device
from darkroom.jobs.drawing.memory import gpu_share
from darkroom.jobs.generate.config import EnhanceConfig
from darkroom.jobs.generate.sampling import RowGumbel, TopP
from darkroom.models.find import FoundModel, unloadable


class LanguageModel(Protocol):
    """What the stage asks of either library."""

    @property
    def max_prompt_tokens(self) -> int:
        """Longest request that leaves room for the answer."""

    def num_tokens(self, prompt: str, /) -> int:
        """Length of the whole request, system prompt and chat form included."""

    def answer(self, prompts: Sequence[str], seeds: Sequence[int], /) -> list[str]:
        """One answer per prompt."""


def load_language_model(config: EnhanceConfig, folder: FoundModel, backend: str) -> LanguageModel:
    """The model on this process's device. Errors: ConfigError when it cannot be loaded."""
    with folder.local() as path:
        try:
            if backend == "vllm":
                return _Vllm(config, path)
            return _Transformers(config, folder, path)
        except Exception as error:  # a file that lies raises anything
            if isinstance(error, DarkroomError) or is_out_of_memory(error):
                raise
            raise unloadable(
                path, error, field="enhance.model", model=config.model,
                remedy="give a causal language model's folder; a GGUF file also needs "
                "enhance.gguf_file",
            ) from error  # fmt: skip


class _Chat:
    """A prompt as the model was taught to read one."""

    def __init__(self, tokenizer: Any, system_prompt: str) -> None:
        self._tokenizer, self._system = tokenizer, system_prompt

    def text(self, prompt: str) -> str:
        if not self._tokenizer.chat_template:  # a base model: it only goes on writing
            return f"{self._system}\n\n{prompt}\n"
        messages = [{"role": "user", "content": prompt}]
        if self._system:
            messages.insert(0, {"role": "system", "content": self._system})
        text: str = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return text

    @property
    def adds_special_tokens(self) -> bool:
        """A chat template writes them itself."""
        return not self._tokenizer.chat_template


class _Transformers:
    def __init__(self, config: EnhanceConfig, folder: FoundModel, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self._config = config
        self._device = prepare_device(config, folder.weights_bytes, prefix="enhance.")
        keywords: dict[str, Any] = {"local_files_only": True}
        if config.gguf_file is not None:
            keywords["gguf_file"] = config.gguf_file
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left", **keywords)
        if config.gguf_file is None:
            keywords["use_safetensors"] = True  # else it would take a pickle that lies there
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=DTYPES[config.precision], output_loading_info=True, **keywords
        )
        model, found = loaded
        if missing := sorted(found["missing_keys"]):  # it would answer from random weights
            raise ValueError(f"{len(missing)} of its weights are not there, first {missing[0]}")
        self._model = model.to(self._device).eval()
        self._chat = _Chat(self._tokenizer, config.system_prompt)
        limit = int(getattr(self._model.config, "max_position_embeddings", 0) or 1 << 30)
        self.max_prompt_tokens = limit - config.max_new_tokens

    def num_tokens(self, prompt: str) -> int:
        return len(self._encode([prompt])["input_ids"][0])

    def _encode(self, prompts: Sequence[str], **keywords: Any) -> Any:
        return self._tokenizer(
            [self._chat.text(prompt) for prompt in prompts],
            add_special_tokens=self._chat.adds_special_tokens,
            **keywords,
        )

    @torch.inference_mode()
    def answer(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        config = self._config
        encoded = self._encode(prompts, padding=True, return_tensors="pt").to(self._device)
        length = encoded["input_ids"].shape[1]
        processors: list[Any] = []
        if config.temperature > 0:
            if config.top_p < 1:
                processors.append(TopP(config.top_p, temperature=config.temperature))
            processors.append(
                RowGumbel(seeds, temperature=config.temperature, prompt_length=length)
            )
        tokens = self._model.generate(
            **encoded,
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            # A checkpoint's own sampling settings would only be warned about.
            temperature=None, top_p=None, top_k=None,
            logits_processor=processors,
            pad_token_id=self._tokenizer.pad_token_id,
        )  # fmt: skip
        texts: list[str] = self._tokenizer.batch_decode(
            tokens[:, length:], skip_special_tokens=True
        )
        return texts


class _Vllm:
    """The engine in this very actor: pieces keep their rows, where a processor over the whole
    data set would regroup them (docs/decisions/0007)."""

    def __init__(self, config: EnhanceConfig, path: Path) -> None:
        import vllm  # type: ignore[import-not-found]

        self._vllm, self._config = vllm, config
        self._engine = vllm.LLM(
            model=str(path / config.gguf_file if config.gguf_file else path),
            dtype=config.precision,
            gpu_memory_utilization=0.9 * gpu_share(config.num_gpus),
            max_num_seqs=config.batch_size,
            enable_prefix_caching=False,
        )
        self._chat = _Chat(self._engine.get_tokenizer(), config.system_prompt)
        limit = int(self._engine.llm_engine.model_config.max_model_len)
        self.max_prompt_tokens = limit - config.max_new_tokens

    def num_tokens(self, prompt: str) -> int:
        tokenizer = self._engine.get_tokenizer()
        return len(tokenizer(self._chat.text(prompt), add_special_tokens=False)["input_ids"])

    def answer(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        config = self._config
        settings = [
            self._vllm.SamplingParams(
                max_tokens=config.max_new_tokens, temperature=config.temperature,
                top_p=config.top_p, seed=seed,
            )
            for seed in seeds
        ]  # fmt: skip
        requests = [self._chat.text(prompt) for prompt in prompts]
        outputs = self._engine.generate(requests, settings, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]

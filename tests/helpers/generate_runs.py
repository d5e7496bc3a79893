"""A `darkroom generate` for tests that start it as a command: tiny models, the worked example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.language_models import save_tiny_language_model
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/generate"


def save_models(folder: Path) -> dict[str, str]:
    """Both tiny models, by stage."""
    return {
        "enhance": str(save_tiny_language_model(folder / "llm")),
        "draw": str(save_tiny_stable_diffusion(folder / "sd", ancestral=True)),
    }


def settings(models: dict[str, str], output: str) -> dict[str, Any]:
    """Eight pieces of eight rows; answers are sampled and the scheduler draws noise."""
    return {
        "input": str(EXAMPLES / "animals.csv"),
        "output": output,
        "rename": {"name": "animal"},
        "join": {"input": str(EXAMPLES / "outfits.csv"), "rename": {"animal_id": "id"}},
        "choices": {"season": ["spring", "summer", "autumn", "winter"]},
        "prompt": "{animal} wearing {outfit}, in {season}",
        "limit": 64,
        "piece_rows": 8,
        "enhance": {
            "model": models["enhance"],
            "max_new_tokens": 8,
            "temperature": 0.9,
            "batch_size": 3,
            "system_prompt": ".",
        },
        "draw": {
            "model": models["draw"],
            "num_steps": 6,
            "guidance_scale": 2.0,
            "batch_size": 5,
        },
    }

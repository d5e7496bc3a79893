r"""Pictures from tables: animals in their clothes, the worked example of `generate`.

    darkroom generate --recipe animals --input examples/generate/animals.csv \
      --join examples/generate/outfits.csv --output s3://bucket/animals

Written for one GPU of 16 GB or more, which both models share: the language model takes 0.3 of it,
SDXL-Turbo the rest. `animals_cpu` is the same path for small models on CPU cores.
"""

from __future__ import annotations

from functools import partial

from darkroom.jobs.generate.config import (
    EnhanceConfig,
    GenerateConfig,
    JoinConfig,
    TextToImageConfig,
)
from darkroom.recipes.recipe import Recipe

_GENERATE = partial(
    GenerateConfig,
    rename={"name": "animal"},
    join=JoinConfig(rename={"animal_id": "id"}, on=("id",)),
    choices={"season": ("spring", "summer", "autumn", "winter")},
    prompt="{animal} wearing {outfit}, {habitat}, in {season}",
)
_SYSTEM = (
    "You describe pictures for an illustrator. Rewrite the description as one vivid sentence of "
    "at most thirty words. Keep the animal, its clothes, the place and the season. Answer with "
    "the sentence and nothing else."
)


def animals() -> Recipe:
    """120 animals in clothes, by SmolLM2-1.7B and SDXL-Turbo on one GPU."""
    config = partial(
        _GENERATE,
        piece_rows=32,
        enhance=EnhanceConfig(
            model="HuggingFaceTB/SmolLM2-1.7B-Instruct",
            system_prompt=_SYSTEM,
            batch_size=32,
            num_gpus=0.3,
            precision="bfloat16",
        ),
        draw=TextToImageConfig(
            model="stabilityai/sdxl-turbo",
            variant="fp16",
            num_steps=1,
            guidance_scale=0.0,
            width=512,
            height=512,
            batch_size=8,
            num_gpus=0.7,
            precision="float16",
        ),
    )
    return Recipe(
        name="animals",
        description="generate: 120 animals in clothes, by a language model and SDXL-Turbo on a GPU",
        configs=(config,),
    )


def animals_cpu() -> Recipe:
    """The same path on CPU cores: name small models with --llm and --model."""
    config = partial(
        _GENERATE,
        piece_rows=16,
        enhance=EnhanceConfig(
            model="HuggingFaceTB/SmolLM2-135M-Instruct",
            system_prompt=_SYSTEM,
            max_new_tokens=48,
            batch_size=16,
        ),
        draw=TextToImageConfig(num_steps=2),
    )
    return Recipe(
        name="animals_cpu",
        description="generate: the path of animals on CPU cores, with small models that you name",
        configs=(config,),
    )

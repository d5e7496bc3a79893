"""Named, complete configs as functions; recipes only combine what the verbs offer.

A recipe is added by writing its function in a module here and its line in RECIPES. Imports
neither ray nor torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from darkroom.errors import ConfigError
from darkroom.recipes.digits import digits, digits_smoke
from darkroom.recipes.finetune import (
    flux_lora,
    sd15_full,
    sd15_lora,
    sd35_lora,
    sdxl_lora,
    tiny_sd,
)
from darkroom.recipes.generate import animals, animals_cpu
from darkroom.recipes.imagenette import imagenette, imagenette_cpu
from darkroom.recipes.mnist import fashion_mnist, mnist
from darkroom.recipes.photographs import food101_lite
from darkroom.recipes.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "digits_smoke": digits_smoke,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "food101_lite": food101_lite,
    "animals": animals,
    "animals_cpu": animals_cpu,
    "imagenette": imagenette,
    "imagenette_cpu": imagenette_cpu,
    "tiny_sd": tiny_sd,
    "sd15_lora": sd15_lora,
    "sd15_full": sd15_full,
    "sdxl_lora": sdxl_lora,
    "sd35_lora": sd35_lora,
    "flux_lora": flux_lora,
}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`. Errors: ConfigError with the nearest name."""
    if name in RECIPES:
        return RECIPES[name]()
    guess = difflib.get_close_matches(name, RECIPES, n=1)
    known = f"did you mean {guess[0]}?" if guess else f"known recipes: {', '.join(RECIPES)}"
    raise ConfigError("--recipe", name, "no such recipe", known)


__all__ = ["RECIPES", "Recipe", "get_recipe"]

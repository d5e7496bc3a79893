"""The notebooks of examples/ in full: the recipe `digits`, all its steps."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.imagenet import lite0_weights
from tests.helpers.notebooks import run_notebook


def test_both_notebooks_in_full(tmp_path: Path) -> None:
    run_notebook("diffusion.ipynb", tmp_path, recipe="digits", root="out")
    weights = str(lite0_weights(tmp_path))
    run_notebook("batch_inference.ipynb", tmp_path, weights=weights, recipe="digits", root="out")

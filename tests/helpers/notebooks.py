"""Runs a notebook as a person would, in a kernel of its own, with other parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_notebook(name: str, folder: Path, **parameters: object) -> list[dict[str, Any]]:
    """Execute it in `folder`; returns every output, as its MIME types.

    parameters: what the cell tagged `parameters` says otherwise. Raises where a cell raises.
    """
    read: Any = nbformat.read  # untyped
    notebook = read(EXAMPLES / name, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    cell.source = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=None, resources=resources).execute()
    return [
        output.get("data", {"text/plain": output.get("text", "")})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]

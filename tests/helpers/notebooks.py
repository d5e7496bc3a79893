"""Runs a notebook as a person would, in a kernel of its own, with other parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
START_SECONDS = 600
"""For a kernel; Jupyter's own minute is little for a busy machine."""


WITHOUT_RAY = (
    "from tests.helpers.prepare_runs import prepare_here\n(here := prepare_here()).__enter__()"
)
"""Code for `before`: batch jobs run in the kernel, without Ray."""


def run_notebook(
    name: str, folder: Path, *, before: str = "", **parameters: object
) -> list[dict[str, Any]]:
    """Execute it in `folder`, after the code `before`; returns every output, as its MIME types.

    parameters: what the cell tagged `parameters` says otherwise. Raises where a cell raises.
    """
    read: Any = nbformat.read  # untyped
    notebook = read(EXAMPLES / name, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    settings = [f"{key} = {value!r}" for key, value in parameters.items()]
    cell.source = "\n".join([before, *settings])
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=START_SECONDS, resources=resources
    )
    client.execute()
    return [
        output.get("data", {"text/plain": output.get("text", "")})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]

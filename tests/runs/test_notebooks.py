"""The notebooks of examples/ run as they stand, with few steps; and their stop button is clean.

The theory and the stop button run on Ray. Batch jobs of the other notebook run in its kernel: what
Ray does with them is in the verbs' own tests, and `make proof` runs both notebooks on it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from tests.helpers.imagenet import lite0_weights
from tests.helpers.notebooks import EXAMPLES, START_SECONDS, WITHOUT_RAY, run_notebook
from tests.helpers.training import pointer_of


@pytest.fixture
def at_hand(ray_local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's verbs find a cluster; `test_the_stop_button` has them start their own."""
    monkeypatch.setenv("RAY_ADDRESS", ray_local)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both run: whichever is first makes the data and the model for the other."""
    return tmp_path_factory.mktemp("notebooks")


def test_the_theory_runs(at_hand: None, folder: Path) -> None:
    outputs = run_notebook("diffusion.ipynb", folder, recipe="digits_smoke", root="out")
    assert sum("image/png" in output for output in outputs) == 9, "each cell that plots or draws"
    text = "".join(output.get("text/plain", "") for output in outputs)
    assert "middle" in text, "the shapes in the U-Net"


def test_batch_inference_runs(at_hand: None, folder: Path) -> None:
    weights = str(lite0_weights(folder))
    outputs = run_notebook(
        "batch_inference.ipynb", folder, before=WITHOUT_RAY, weights=weights,
        recipe="digits_smoke", root="out",
    )  # fmt: skip
    pages = "".join(output.get("text/html", "") for output in outputs)
    assert "daisy" in pages, "what the flower is"
    assert "broken.jpg" in pages, "a dead letter of classify"
    assert "eleven" in pages, "a dead letter of generate"
    assert pages.count("<img") >= 8, "rows show their pictures"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_stop_button_publishes_a_checkpoint_and_stops_ray(tmp_path: Path) -> None:
    manager, client = start_new_kernel(startup_timeout=START_SECONDS, cwd=str(tmp_path))
    try:
        cell = client.execute(
            "import os, pathlib, darkroom\n"
            "pathlib.Path('pid').write_text(str(os.getpid()))\n"
            "data = darkroom.prepare(recipe='digits_smoke', output='data')\n"
            "darkroom.train(recipe='digits_smoke', input=data, output='model', max_steps=10**6)\n"
        )
        output = str(tmp_path / "model")
        # Before the first checkpoint a stop may meet Ray's own start, and is Python's own then.
        while (state := pointer_of(output)) is None or not state.step:
            time.sleep(0.1)
        manager.interrupt_kernel()
        while (message := client.get_shell_msg(timeout=600))["parent_header"]["msg_id"] != cell:
            pass  # the kernel's answers to whether it was up
        reply = message["content"]
        assert reply["ename"] == "InterruptedBySignal"
        assert "a checkpoint is published, run the same command to go on" in reply["evalue"]
        kernel = psutil.Process(int((tmp_path / "pid").read_text()))
        _, alive = psutil.wait_procs(kernel.children(recursive=True), timeout=120)
        assert not alive, "a Ray that nobody needs"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

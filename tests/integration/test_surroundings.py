"""On a real Ray: the user's folder gives workers nothing, and what cannot heal ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.errors import DarkroomError
from darkroom.jobs.ray_data import darkroom_errors, map_bounded, quiet_data_context
from darkroom.jobs.session import ray_session


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current folder with files that are named as libraries are."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("numpy", "json", "pyarrow", "torch", "queue"):
        (folder / f"{name}.py").write_text("raise ImportError('the user has a file of this name')")
    (folder / "PIL").mkdir()
    (folder / "PIL" / "__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def ray_in_odd_folder(odd_folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(odd_folder)
        with ray_session():
            yield


def where() -> dict[str, Any]:
    import PIL.Image

    return {
        "numpy": np.__file__,
        "pillow": PIL.__file__,
        "path": sys.path,
        "folder": str(Path.cwd()),
    }


def test_workers_import_libraries_and_not_the_users_files(
    ray_in_odd_folder: None, odd_folder: Path
) -> None:
    import ray

    seen = ray.get(ray.remote(where).remote())
    assert seen["numpy"] == np.__file__
    assert str(odd_folder) not in {*seen["path"], seen["pillow"]}
    assert "" not in seen["path"]
    assert seen["folder"] == str(odd_folder)


def test_what_no_worker_can_import_ends_in_one_line(
    ray_in_odd_folder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    (tmp_path / "only_here.py").write_text("def step(table):\n    return table\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    with quiet_data_context(preserve_order=True):
        rows = ray.data.from_blocks([pa.table({"id": [1, 2, 3]})])
        rows = map_bounded(rows, only_here.step, batch_size=None)
        with pytest.raises(DarkroomError, match="only_here") as caught, darkroom_errors():
            rows.materialize()
    assert str(caught.value).startswith("a task failed: ")
    assert "\n" not in str(caught.value)


def test_a_task_that_kills_its_worker_ends(ray_in_odd_folder: None) -> None:
    import ray.data

    def die(_table: pa.Table) -> pa.Table:
        os._exit(1)

    with quiet_data_context(preserve_order=True):
        rows = ray.data.from_blocks([pa.table({"id": [1]})])
        rows = map_bounded(rows, die, batch_size=None, max_retries=2)
        with pytest.raises(DarkroomError, match="a task failed: "), darkroom_errors():
            rows.materialize()

"""Variables that name files mean the driver's folder on every worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.jobs.environment import PATH_VARIABLES, make_paths_absolute


def test_paths_in_variables_are_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = dict(zip(PATH_VARIABLES, ("rel/file", "~/file", "/abs/file", ""), strict=False))
    environment["AWS_PROFILE"] = "relative"
    make_paths_absolute(environment)
    values = [f"{tmp_path}/rel/file", f"{tmp_path}/file", "/abs/file", "", "relative"]
    assert list(environment.values()) == values

"""Which kubeconfig is taken: as kubectl does, and as the environment is now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkroom.cluster.client import Cluster
from darkroom.errors import InputError


def write(path: Path, name: str, namespace: str) -> str:
    cluster = {"server": "http://127.0.0.1:9"}
    config = {
        "current-context": name,
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
        ],
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)


def test_the_environment_of_now_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("KUBECONFIG", write(tmp_path / name, name, f"of-{name}"))
        assert Cluster().namespace == f"of-{name}"


def test_several_files_are_one_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(tmp_path / "gone")]
    files += [write(tmp_path / name, name, f"of-{name}") for name in ("one", "two")]
    monkeypatch.setenv("KUBECONFIG", ":".join(files))
    assert Cluster().namespace == "of-one"
    assert Cluster(context="two").namespace == "of-two"


def test_without_any_it_is_one_line_and_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="set KUBECONFIG"):
        Cluster()
    assert capsys.readouterr().out == ""

"""The kinds of artifacts stand in one list, and lineage verifies each of them.

Storage knows no kind. A parent says itself, in the child's manifest, whether it was published.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.config import JobConfig
from darkroom.jobs.artifacts import Kind
from darkroom.models.find import find_model
from darkroom.storage import Artifact, Parent, lineage, open_artifact, open_output
from darkroom.storage.manifest import sealed_json

SOURCE = Path(__file__).parents[2] / "src/darkroom"
OPENERS = {"open_output", "open_artifact", "open_batch"}


def _publish(root: Path, kind: str, *parents: Parent) -> Artifact:
    uri = f"file://{root}/{kind}"
    config = JobConfig(output=uri)
    with open_output(uri, kind=kind, config=config, parents=parents) as output:
        return output.publish([output.writer.write_bytes("data/x", b"bytes")])


def _damage(artifact: Artifact) -> None:
    artifact.store.put(artifact.entry("data/x").key, b"bytez")


@pytest.mark.parametrize("kind", [*Kind, "a kind of later"])
def test_damage_is_found_in_a_parent_of_every_kind(kind: str, tmp_path: Path) -> None:
    parent = _publish(tmp_path, kind)
    child = _publish(tmp_path, "child", parent.as_parent("input"))
    intact = lineage(child.uri)
    assert intact.ok
    assert intact.text().splitlines()[-1] == "every digest verified"
    assert intact.not_verified == []
    _damage(parent)
    tree = lineage(child.uri)
    (problem,) = tree.problems
    assert str(parent.uri) in problem
    assert "DAMAGED" in tree.text()
    assert "every digest verified" not in tree.text()
    assert [ancestor.uri for ancestor in tree.not_verified] == [str(parent.uri)]
    assert not lineage(parent.uri).ok


def test_a_model_in_a_folder_says_whether_it_was_published(tmp_path: Path) -> None:
    published = find_model(str(_publish(tmp_path, "folder").uri), field="model")
    assert published.as_parent("model").published is True
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_bytes(b"{}")
    assert find_model(str(plain), field="model").as_parent("model").published is False


@pytest.mark.parametrize("said", [False, None])
def test_what_is_not_verified_is_said(said: bool | None, tmp_path: Path) -> None:
    """None: a manifest of before parents said it."""
    parent = _publish(tmp_path, Kind.PREDICTIONS)
    child = _publish(tmp_path, "child", parent.as_parent("input"))
    path = tmp_path / "child/manifest.json"
    values: dict[str, Any] = json.loads(path.read_bytes())
    del values["seal"], values["parents"][0]["published"]
    if said is not None:
        values["parents"][0]["published"] = said
    path.write_bytes(sealed_json(values))
    _damage(parent)
    tree = lineage(child.uri)
    assert [ancestor.uri for ancestor in tree.not_verified] == [str(parent.uri)]
    assert f"not verified: {parent.uri}" in tree.text()
    last = tree.text().splitlines()[-1]
    assert last != "every digest verified"
    if said is None:
        assert last.startswith("NOT everything could be verified")


def test_an_old_manifest_keeps_its_digest(tmp_path: Path) -> None:
    """Its children have recorded it."""
    of_old = _publish(tmp_path, "grandchild", _publish(tmp_path, "child").as_parent("input"))
    values = of_old.manifest.to_dict()
    del values["parents"][0]["published"]
    (tmp_path / "grandchild/manifest.json").write_bytes(sealed_json(values))
    old = open_artifact(of_old.uri)
    assert old.manifest.parents[0].published is None
    assert old.manifest.to_dict() == values


def test_verbs_take_their_kinds_from_the_one_list() -> None:
    used = set()
    for path in SOURCE.joinpath("jobs").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in OPENERS:
                continue
            for keyword in call.keywords:
                value = keyword.value
                if keyword.arg == "kind":
                    assert not isinstance(value, ast.Constant), f"{path}: {call.lineno}"
                    used |= {value.attr} if isinstance(value, ast.Attribute) else set()
    assert used == {kind.name for kind in Kind}

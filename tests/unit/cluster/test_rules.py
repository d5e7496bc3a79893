"""rules.py takes any data; what it says of KubeRay's rules is in tests/charts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.cluster.pod_rules import quantity
from darkroom.cluster.rules import check_manifest

KEYS = st.sampled_from(
    [
        *("spec", "metadata", "name", "rayClusterSpec", "headGroupSpec", "workerGroupSpecs"),
        *("template", "containers", "env", "deletionStrategy", "deletionRules", "condition"),
        *("clusterSelector", "labels", "resources", "limits", "image", "rayStartParams"),
        *("authOptions", "securityContext"),
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(kind=st.sampled_from(["RayJob", "RayCluster", "Pod"]), spec=DATA, metadata=DATA)
def test_any_data_is_judged_without_an_exception(kind: str, spec: Any, metadata: Any) -> None:
    for finding in check_manifest({"kind": kind, "spec": spec, "metadata": metadata}):
        assert finding.rule
        assert finding.path
        assert str(finding).startswith(f"[{finding.rule}]")


@pytest.mark.parametrize("text", ["1", "500m", "0.5", "8Gi", "8G", "1e3", "100k", 4, "1.5Gi"])
def test_quantities(text: object) -> None:
    assert quantity(text) is not None


@pytest.mark.parametrize("text", ["8GB", "8g", "4 cores", "", "m", "1..5", "Gi", True, "8gi"])
def test_what_is_no_quantity(text: object) -> None:
    assert quantity(text) is None

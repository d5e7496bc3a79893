"""Namespaces for tests on a Kubernetes API server: new, restricted, deleted afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from testcluster.client import Kubectl

RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


@contextmanager
def new_namespace(cluster: Kubectl, prefix: str, stem: str) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces the restricted pod security standard."""
    name = f"{prefix}-{stem}-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": RESTRICTED}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield cluster.within(name)
    # Not waited for: its pods take half a minute to end, and no other test meets them.
    cluster("delete", "namespace", name, "--wait=false")


def stem_of(module_name: str) -> str:
    """A test module's name as a part of a namespace's."""
    return module_name.rsplit(".", 1)[-1].removeprefix("test_").replace("_", "-")

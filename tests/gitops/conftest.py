"""Argo CD on the development entry point, entered by the documented commands, once.

No kubelet runs here: the tests write of each pod that it runs (tests/helpers/pods_by_hand.py), and
what the operator makes of that is its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster.settings import path_with_binaries
from tests.helpers.applications import is_settled
from tests.helpers.gitops import GitOps, entry_applications, new_gitops

ENTER_SECONDS = 600


@pytest.fixture(scope="session", autouse=True)
def programs() -> Iterator[None]:
    """The built programs on PATH."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", path_with_binaries()["PATH"])
        yield


@pytest.fixture(scope="session")
def gitops(tmp_path_factory: pytest.TempPathFactory, programs: None) -> Iterator[GitOps]:
    """From an empty cluster, as docs/kubernetes/gitops.md has it, until all is Healthy."""
    with new_gitops(tmp_path_factory.mktemp("gitops")) as found:
        place = found.repository.checkout / "manifests"
        found.cluster("apply", f"--kustomize={place / 'overlays/dev/namespace'}")
        keys = [
            f"--from-literal={name}=0123456789"
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ]
        secret = ["create", "secret", "generic", "darkroom-s3-keys", *keys]
        found.cluster.within("darkroom-dev")(*secret)
        entry = place / "clusters/dev/argocd"
        found.enter(lambda: found.applications.kubectl("apply", f"--kustomize={entry}"))
        names = entry_applications(found.repository, "dev", found.cluster)

        def all_settled() -> bool:
            there = found.applications.all()
            return all(is_settled(there[name]) for name in names)

        found.applications.until("all Healthy", all_settled, ENTER_SECONDS)
        yield found

"""Flux on the development entry point, entered by the documented command, once.

No kubelet runs here: the tests write of each pod that it runs (tests/helpers/pods_by_hand.py), and
what the operator makes of that is its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster.settings import path_with_binaries
from tests.helpers.flux_entry import FluxEntry, new_flux_entry
from tests.helpers.flux_release import FluxRelease


@pytest.fixture(scope="session", autouse=True)
def programs() -> Iterator[None]:
    """The built programs on PATH."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", path_with_binaries()["PATH"])
        yield


@pytest.fixture(scope="session")
def entry(tmp_path_factory: pytest.TempPathFactory, programs: None) -> Iterator[FluxEntry]:
    """From an empty cluster, as docs/kubernetes/gitops.md has it, until all is ready."""
    with new_flux_entry(tmp_path_factory.mktemp("entry")) as found:
        found.enter_cluster("dev")
        yield found


@pytest.fixture(scope="session")
def entered(entry: FluxEntry) -> FluxRelease:
    """The cluster's release of that entry point."""
    return FluxRelease(entry.flux)

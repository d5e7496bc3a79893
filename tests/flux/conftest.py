"""Flux beside the operator, the charts in the project's own S3, and the development release.

kustomize-controller cannot be had: the tests apply what it would, with the Bucket in the place of
the GitRepository, and without the queue, whose kinds are not here. No kubelet runs here: the tests
write of each pod that it runs (tests/helpers/pods_by_hand.py).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcluster import flux
from testcluster.client import Kubectl
from testcluster.control_plane import control_plane
from testcluster.light import install_operator, start_operator
from testcluster.settings import PROJECT, path_with_binaries
from tests.helpers.flux_release import BUCKET, NAME, NAMESPACE, FluxRelease, Object
from tests.helpers.release import upload_folder

from darkroom.storage import EmbeddedServer


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on a control plane with the operator and Flux."""
    with (
        pytest.MonkeyPatch.context() as environment,
        control_plane(tmp_path_factory.mktemp("flux")) as plane,
    ):
        environment.setenv("PATH", path_with_binaries()["PATH"])
        install_operator(plane)
        start_operator(plane)
        flux.start(plane)
        yield Kubectl(f"--kubeconfig={plane.admin}")


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the charts as Flux has them of a Git repository: it leaves links out."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(PROJECT / "charts", folder / "charts", symlinks=True)
    for path in [path for path in folder.rglob("*") if path.is_symlink()]:
        path.unlink()
    return folder


@pytest.fixture(scope="session")
def release(
    cluster: Kubectl, charts: Path, s3: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> FluxRelease:
    """The release `darkroom` of the development overlay, installed by Flux."""
    s3.create_bucket(BUCKET)
    upload_folder(charts, f"s3://{BUCKET}")
    cluster.within(flux.NAMESPACE).apply(*bucket(s3))
    found = FluxRelease(cluster, charts)
    found.until("the charts", lambda: found.holds("bucket", "darkroom", flux.NAMESPACE))
    folder = tmp_path_factory.mktemp("release")
    found.kubectl("apply", "--server-side", f"--kustomize={environment(folder)}")
    found.until("the release", lambda: found.holds("helmrelease", NAME, NAMESPACE))
    return found


def bucket(s3: EmbeddedServer) -> list[Object]:
    """Where Flux finds the charts, and with which keys."""
    names = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
    keys = {key: s3.environment[name] for key, name in names.items()}
    spec = {
        "provider": "generic",
        "bucketName": BUCKET,
        "endpoint": s3.endpoint.removeprefix("http://"),
        "insecure": True,
        "region": "us-east-1",
        "interval": "1h",
        "secretRef": {"name": "s3"},
    }
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": keys},
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "Bucket",
            "metadata": {"name": "darkroom"},
            "spec": spec,
        },
    ]


def environment(folder: Path) -> Path:
    """Namespace, values and release of the development overlay, the source alone another."""
    places = ["overlays/dev/namespace", "overlays/dev/values", "releases/cluster"]
    source = {"op": "replace", "path": "/spec/chart/spec/sourceRef/kind", "value": "Bucket"}
    content = {
        "namespace": NAMESPACE,
        # kustomize takes no absolute path.
        "resources": [
            os.path.relpath((PROJECT / "manifests" / place).resolve(), folder.resolve())
            for place in places
        ],
        "patches": [{"target": {"kind": "HelmRelease"}, "patch": json.dumps([source])}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    return folder

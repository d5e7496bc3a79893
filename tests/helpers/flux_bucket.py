"""The development release by Flux, its charts in the project's own S3 in the place of Git."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import yaml
from testcluster import flux
from testcluster.settings import PROJECT
from tests.helpers.flux_objects import FluxObjects
from tests.helpers.flux_release import NAMESPACE, FluxRelease, Object
from tests.helpers.release import upload_folder

from darkroom.storage import EmbeddedServer

BUCKET = "charts"


class BucketRelease(FluxRelease):
    """The release, the bucket of its chart, and the ConfigMap of its values."""

    def __init__(self, flux_objects: FluxObjects, charts: Path) -> None:
        super().__init__(flux_objects)
        self.charts = charts
        """The folder that the bucket is a copy of."""

    def install(self, s3: EmbeddedServer, scratch: Path) -> None:
        """Fills the bucket, and applies what kustomize-controller would, the source another."""
        s3.create_bucket(BUCKET)
        upload_folder(self.charts, f"s3://{BUCKET}")
        self.flux.cluster.within(flux.NAMESPACE).apply(*_bucket(s3))
        self.flux.until(
            "the charts", lambda: self.flux.is_ready("bucket", "darkroom", flux.NAMESPACE)
        )
        self.kubectl("apply", "--server-side", f"--kustomize={_environment(scratch)}")
        self.flux.until("the release", self.is_ready)

    def set_values(self, change: Callable[[Object], object]) -> None:
        """Changes the ConfigMap of the values, as kustomize-controller does after a commit."""
        found = self.kubectl.get("configmap", "cluster-values")
        values = yaml.safe_load(found["data"]["values.yaml"])
        change(values)
        patch = json.dumps({"data": {"values.yaml": yaml.safe_dump(values)}})
        self.kubectl("patch", "configmap", "cluster-values", "--type=merge", f"--patch={patch}")

    def publish_charts(self) -> None:
        """Puts the charts into the bucket anew, and has Flux look there."""
        upload_folder(self.charts, f"s3://{BUCKET}")
        self.flux.reconcile("bucket", "darkroom", flux.NAMESPACE)


def _bucket(s3: EmbeddedServer) -> list[Object]:
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


def _environment(folder: Path) -> Path:
    """Namespace, values and release of the development overlay, without its queue."""
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

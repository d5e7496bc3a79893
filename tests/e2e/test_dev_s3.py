"""The development S3 server on a persistent volume: a release goes, its objects stay."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from testcluster.settings import NODE_NAME
from tests.helpers.release import Release

from darkroom.errors import StorageError
from darkroom.storage import ObjectStore, open_store

STORAGE_CLASS = "e2e-kept"
OBJECT = "kept/object"


def _persistent_volume(name: str, folder: Path) -> dict[str, Any]:
    """A folder of the test cluster's one node; of type `local`, so that fsGroup applies to it."""
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
        },
    }


@pytest.fixture
def persistent(own_cluster: Kubectl, namespace: Kubectl, tmp_path: Path) -> Iterator[Release]:
    """A release whose S3 server keeps its objects in a claim; removed with its volume."""
    folder = tmp_path / "volume"
    folder.mkdir()
    own_cluster.apply(_persistent_volume(namespace.namespace, folder))
    storage = ["persistent=true", f"className={STORAGE_CLASS}", "size=1Gi"]
    yield Release(namespace, *(f"--set=devS3.storage.{each}" for each in storage))
    own_cluster("delete", "persistentvolume", namespace.namespace, "--wait=false")


def test_objects_outlive_the_release(persistent: Release) -> None:
    for content in (b"before the removal", None):
        persistent.upgrade()
        persistent.wait_for_s3()
        with persistent.s3_from_here() as bucket:
            store = open_store(bucket)
            if content is not None:
                store.put(OBJECT, content)
            found = wait_for(
                "the object",
                partial(_read, store),
                seconds=60,
                explain=persistent.kubectl.explain,
            )
            assert found == b"before the removal"
        persistent.uninstall()


def _read(store: ObjectStore) -> bytes:
    """Empty while the server is up and does not yet know its own volumes: seconds, when busy."""
    try:
        return store.get(OBJECT)
    except StorageError:
        return b""

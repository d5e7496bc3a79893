"""Puts a built image into containerd without copying its files.

Builder and containerd keep layers in the same form: a folder per layer, for overlayfs to stack. So
each layer becomes a snapshot whose folder is a link to the builder's: at once, and without a second
copy of gigabytes. Neither side ever writes into a committed layer. Only the image's manifest and
configuration are imported.
"""

import base64
import hashlib
import io
import json
import shlex
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testcluster.images import tag
from testcluster.machine import node_command
from testcluster.settings import NODE, STORAGE, path_with_binaries

OVERLAY = STORAGE / "storage" / "overlay"
LAYERS = STORAGE / "storage" / "overlay-layers" / "layers.json"
IMAGES = STORAGE / "storage" / "overlay-images"


@dataclass(frozen=True)
class BuiltImage:
    """An image in the builder's storage."""

    name: str
    manifest: bytes
    config: bytes
    folders: list[Path]
    """One per layer, the base first."""

    @property
    def diff_ids(self) -> list[str]:
        ids: list[str] = json.loads(self.config)["rootfs"]["diff_ids"]
        return ids


def load(name: str) -> None:
    """Makes the image `name` known to the cluster; layers that it has already are left alone."""
    started = time.monotonic()
    image = _find(tag(name))
    present = set(_ctr("snapshots", "list").split())
    parent = ""
    for folder, chain_id in zip(image.folders, _chain_ids(image.diff_ids), strict=True):
        if chain_id not in present:
            _link_snapshot(folder, chain_id, parent)
        parent = chain_id
    archive = NODE / f"{name}.tar"
    archive.write_bytes(_without_layers(image))
    _ctr("images", "import", "--local", "--no-unpack", str(archive))
    print(f"loaded {image.name}: {time.monotonic() - started:.1f} s", flush=True)


def manifest_digest(name: str) -> str:
    """The digest of a built image's manifest, as a registry would name it: sha256:..."""
    return f"sha256:{hashlib.sha256(_find(tag(name)).manifest).hexdigest()}"


def _find(name: str) -> BuiltImage:
    images = json.loads((IMAGES / "images.json").read_text())
    record = next((image for image in images if name in image.get("names", [])), None)
    if record is None:
        raise SystemExit(f"{name} is not built: make image")
    folder = IMAGES / record["id"]
    config_key = base64.b64encode(f"sha256:{record['id']}".encode()).decode()
    folders = _layer_folders(record["layer"])
    return BuiltImage(
        name, (folder / "manifest").read_bytes(), (folder / f"={config_key}").read_bytes(), folders
    )


def _layer_folders(top: str) -> list[Path]:
    parents = {layer["id"]: layer.get("parent") for layer in json.loads(LAYERS.read_text())}
    chain = [top]
    while parent := parents[chain[-1]]:
        chain.append(parent)
    return [OVERLAY / layer / "diff" for layer in reversed(chain)]


def _chain_ids(diff_ids: list[str]) -> list[str]:
    """containerd's names of stacked layers (OCI image specification, ChainID)."""
    chain = [diff_ids[0]]
    for diff_id in diff_ids[1:]:
        chain.append("sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest())
    return chain


def _link_snapshot(folder: Path, chain_id: str, parent: str) -> None:
    key = f"transfer-{chain_id}"
    _ctr("snapshots", "prepare", key, *([parent] if parent else []))
    target = _writable_folder(_ctr("snapshots", "mounts", "/unused", key))
    target.rmdir()
    target.symlink_to(folder)
    _ctr("snapshots", "commit", chain_id, key)


def _writable_folder(mount_command: str) -> Path:
    """A snapshot's own files, as the machine sees them, from the command that would mount it."""
    words = shlex.split(mount_command)
    options = dict(o.partition("=")[::2] for word in words for o in word.split(","))
    inside = Path(options["upperdir"] if "upperdir" in options else words[words.index("bind") + 1])
    return NODE / inside.relative_to("/")


def _without_layers(image: BuiltImage) -> bytes:
    """An OCI image layout in a tar file, complete but for the layers."""
    digest = hashlib.sha256(image.manifest).hexdigest()
    reference: dict[str, Any] = {
        "mediaType": json.loads(image.manifest)["mediaType"],
        "digest": f"sha256:{digest}",
        "size": len(image.manifest),
        "annotations": {"io.containerd.image.name": image.name},
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [reference]}).encode(),
        f"blobs/sha256/{digest}": image.manifest,
        f"blobs/sha256/{hashlib.sha256(image.config).hexdigest()}": image.config,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _ctr(*arguments: str) -> str:
    """Runs ctr; what it warns of is shown only when it fails."""
    command = node_command("ctr", "--namespace=k8s.io", *arguments)
    done = subprocess.run(
        command, env=path_with_binaries(), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"ctr {' '.join(arguments)}: {done.stderr}")
    return done.stdout

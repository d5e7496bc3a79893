"""Image archives of one static program, for what needs no Dockerfile: sandbox and operator."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

OWNER = 65532


def write_image(archive: Path, name: str, program: Path, *, entrypoint: str) -> None:
    """Writes an archive (`docker save` form) of an image of one file: `program` at `entrypoint`."""
    layer = _tar({entrypoint.lstrip("/"): program.read_bytes()}, mode=0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": f"{OWNER}:{OWNER}"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    archive.write_bytes(_tar({**files, "layer.tar": layer}, mode=0o644))


def _tar(files: dict[str, bytes], *, mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()

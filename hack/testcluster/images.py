"""Builds the project's images from their Dockerfiles, with no Docker and no registry.

buildah builds, as root, in a mount namespace of its own. The Dockerfiles' base, which only a
registry has, is replaced by a root file system of the same Debian release, made from Debian's
packages: same suite, same Python. `transfer.py` puts what was built into the cluster.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from testcluster.settings import PROJECT, STORAGE, project_version, versions

BASE = "localhost/standin-python"
# Name -> folder of its Dockerfile under images/.
IMAGES = {"darkroom": "darkroom", "darkroom-seaweedfs": "seaweedfs"}
PACKAGES = ["ca-certificates", "python3", "python3-dev", "python3-venv"]
# What the machine trusts, so that a build behind an intercepting proxy works too.
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"


def build(requirements: str = "runtime") -> None:
    """Builds the base once, then each image; unchanged layers come from the cache.

    `requirements` names the lock; `prepare` has no torch, and its image is built in a minute.
    """
    for name, folder in IMAGES.items():
        dockerfile = PROJECT / "images" / folder / "Dockerfile"
        options = [f"--ignorefile={dockerfile}.dockerignore"]
        if name == "darkroom":
            options.append(f"--build-arg=REQUIREMENTS={requirements}")
        build_image(name, dockerfile, *options)


def build_image(name: str, dockerfile: Path, *options: str) -> None:
    """Builds one image from a Dockerfile that takes BASE_IMAGE."""
    _build_base()
    started = time.monotonic()
    fixed = ["--layers", f"--build-arg=BASE_IMAGE={BASE}", f"--volume={CERTIFICATES}"]
    named = [f"--tag={tag(name)}", f"--file={dockerfile}"]
    buildah("build", *fixed, *options, *named, str(PROJECT))
    print(f"image {tag(name)}: {time.monotonic() - started:.1f} s", flush=True)


def tag(name: str) -> str:
    """The reference under which the cluster knows an image: in a pod, `darkroom:<version>`."""
    return f"docker.io/library/{name}:{project_version()}"


def buildah(*arguments: str) -> None:
    """Runs buildah on the cache's storage. Its mounts are private, so none is left behind."""
    temporary = STORAGE / "tmp"
    cache = (
        temporary / "buildah-cache" / "uv"
    )  # where buildah keeps the Dockerfiles' cache mount `uv`
    cache.mkdir(parents=True, exist_ok=True)
    wheels = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
    wheels.mkdir(parents=True, exist_ok=True)
    script = f'mount --bind "{wheels}" "{cache}" && exec "$@"'
    private = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"]
    storage = [f"--root={STORAGE}/storage", f"--runroot={STORAGE}/run", "--storage-driver=overlay"]
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(temporary)}
    subprocess.run([*private, "buildah", *storage, *arguments], env=environment, check=True)


def _build_base() -> None:
    stamp = STORAGE / "base.stamp"
    key = f"{versions()['DEBIAN_SUITE']} {' '.join(PACKAGES)}"
    if stamp.exists() and stamp.read_text() == key:
        return
    started = time.monotonic()
    context = STORAGE / "base"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    suite = versions()["DEBIAN_SUITE"]
    include = f"--include={','.join(PACKAGES)}"
    archive = str(context / "root.tar")
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", include, suite, archive], check=True
    )
    (context / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["bash"]\n')
    buildah("build", "--tag", BASE, str(context))
    shutil.rmtree(context)
    stamp.write_text(key)
    print(f"image {BASE}: {time.monotonic() - started:.1f} s", flush=True)

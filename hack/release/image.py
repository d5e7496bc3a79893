"""The image of a release as an OCI archive: the real one, or the test image under its own name.

`docker` builds images/darkroom on its real base and needs Docker with a registry to pull from.
`testimage` packs what `make image` built on the stand-in base; it is named darkroom-testimage-cpu,
and its labels say what it stands on. `none` makes none. `auto` takes the first that can be had.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testcluster import images
from testcluster.settings import PROJECT, STORAGE, project_version

TEST_NAME = "darkroom-testimage-cpu"
CHOICES = ("auto", "docker", "testimage", "none")


@dataclass(frozen=True)
class Made:
    """What was made, for the provenance and for people."""

    kind: str
    why: str
    base: str = ""


def make(folder: Path, choice: str) -> Made:
    """The archive, or the reason for none. Errors: SystemExit when what was asked for fails."""
    if choice == "none":
        return Made("none", "not asked for")
    if choice == "docker" or (choice == "auto" and _docker_answers()):
        return _docker(folder)
    if choice == "testimage" or (os.geteuid() == 0 and _test_image_is_built()):
        return _test_image(folder)
    return Made("none", "no Docker answers, and `make image` has built no test image here")


def _docker(folder: Path) -> Made:
    name, version = "darkroom", project_version()
    archive = folder / f"{name}-{version}.oci.tar"
    digest = os.environ.get("BASE_DIGEST", "")
    command = ["docker", "buildx", "build", "--platform=linux/amd64", "--provenance=false"]
    command += [f"--build-arg=BASE_DIGEST={digest}", f"--tag={name}:{version}"]
    command += [f"--label={label}" for label in _labels(name, "python:3.11-slim-bookworm")]
    command += [f"--output=type=oci,dest={archive}", "--file=images/darkroom/Dockerfile", "."]
    if subprocess.run(command, cwd=PROJECT).returncode:
        raise SystemExit("release: docker buildx build failed; RELEASE_IMAGE=none leaves it out")
    return Made("docker", "built on its real base", digest or "python:3.11-slim-bookworm by tag")


def _test_image(folder: Path) -> Made:
    if not _test_image_is_built():
        raise SystemExit("release: no test image is built: make image")
    pack(images.tag("darkroom"), folder / f"{TEST_NAME}-{project_version()}.oci.tar")
    why = "of Debian's packages, in place of python:3.11-slim-bookworm; for tests only"
    return Made("testimage", why, images.BASE)


def pack(reference: str, archive: Path) -> None:
    """An image of the builder's storage as an OCI archive that says it is the test image."""
    container = "darkroom-release"
    images.buildah("from", "--name", container, "--pull-never", reference)
    try:
        labels = [word for label in _labels(TEST_NAME, images.BASE) for word in ("--label", label)]
        images.buildah("config", *labels, container)
        target = f"oci-archive:{archive}:{TEST_NAME}:{project_version()}"
        images.buildah("commit", "--quiet", "--format=oci", container, target)
    finally:
        images.buildah("rm", container)


def _labels(name: str, base: str) -> list[str]:
    prefix = "org.opencontainers.image"
    return [
        f"{prefix}.title={name}",
        f"{prefix}.version={project_version()}",
        f"{prefix}.base.name={base}",
        f"{prefix}.licenses=Apache-2.0",
    ]


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "buildx", "ls"], capture_output=True).returncode == 0 and (
        subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


def _test_image_is_built() -> bool:
    """By the builder's own list of names; nothing is started for the question."""
    listing = STORAGE / "storage" / "overlay-images" / "images.json"
    return listing.exists() and images.tag("darkroom") in listing.read_text()

"""What a release's files install: on a real API server, from the folder alone; and what they are.

The image is apart: no node here runs it. That an archive on the stand-in base says so is shown with
a small image in the real one's place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release import image, provenance
from testcluster import images
from testcluster.client import Kubectl, wait_for
from testcluster.settings import PROJECT, path_with_binaries, project_version

SECONDS = 120
VERSION = project_version()
SMALL = ["--set=head.resources.requests.memory=1Gi", "--set=head.resources.limits.memory=2Gi"]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "release", "make", str(folder), *arguments]
    environment = path_with_binaries() | {"PYTHONPATH": str(PROJECT / "hack")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of this tree, without image and SBOM."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    done = make(folder, "--image=none", "--changed")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def installed(dist: Path, namespace: Kubectl) -> Iterator[Kubectl]:
    """The namespace with the cluster chart's archive installed."""
    chart = dist / f"darkroom-cluster-{VERSION}.tgz"
    done = namespace.helm("install", "darkroom", str(chart), *SMALL)
    assert done.returncode == 0, done.stderr
    yield namespace
    namespace.helm("uninstall", "darkroom")


def test_the_files_fit_each_other_and_a_second_run_makes_the_same(
    dist: Path, tmp_path: Path
) -> None:
    assert provenance.verify(dist) == []
    assert make(tmp_path / "again", "--image=none", "--changed").returncode == 0
    moments = {provenance.STATEMENT, provenance.SUMS}
    ours, theirs = (
        {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in moments}
        for folder in (dist, tmp_path / "again")
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_the_charts_archives_install(installed: Kubectl, dist: Path) -> None:
    wait_for(
        "a head",
        lambda: installed.list("pods", "ray.io/node-type=head,ray.io/cluster=darkroom"),
        seconds=SECONDS,
        explain=installed.explain,
    )
    chart = dist / f"darkroom-job-{VERSION}.tgz"
    settings = ["verb=prepare", "recipe=digits_smoke", "output=s3://b/data"]
    settings += ["clusterSelector=darkroom", "serviceAccount.create=false"]
    flags = [f"--set={setting}" for setting in settings]
    done = installed.helm("install", "data", str(chart), *flags)
    assert done.returncode == 0, done.stderr
    job = installed.get("rayjob", "data")
    assert job["spec"]["entrypoint"].startswith("darkroom prepare --recipe digits_smoke")
    assert installed.helm("uninstall", "data").returncode == 0


@pytest.mark.parametrize("chart", ["darkroom-cluster", "darkroom-job", "darkroom-service"])
def test_a_charts_archive_renders_as_its_folder(chart: str, dist: Path, namespace: Kubectl) -> None:
    values = min((PROJECT / "charts" / chart / "ci").glob("eks.yaml"))
    ours, theirs = (
        namespace.template("x", place, f"--values={values}")
        for place in (PROJECT / "charts" / chart, dist / f"{chart}-{VERSION}.tgz")
    )
    assert ours == theirs


def test_crds_and_manifests_are_taken(dist: Path, namespace: Kubectl, tmp_path: Path) -> None:
    (crds,) = dist.glob("kuberay-crds-*.yaml")
    applied = namespace("apply", "--server-side", "--dry-run=server", f"--filename={crds}")
    assert "rayjobs.ray.io" in applied
    with tarfile.open(dist / f"darkroom-manifests-{VERSION}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    rendered = namespace("kustomize", str(tmp_path / "manifests/overlays/dev/train"))
    assert rendered == namespace("kustomize", str(PROJECT / "manifests/overlays/dev/train"))
    assert "kind: RayJob" in rendered


def test_the_wheel_is_the_package(dist: Path, tmp_path: Path) -> None:
    """Over the packages that are here: tests/proofs installs from the lock, into nothing."""
    uv = Path(sys.executable).with_name("uv")
    (wheel,) = dist.glob("*.whl")
    target = tmp_path / "site"
    command = [str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", f"--target={target}"]
    subprocess.run([*command, str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    program = "import darkroom; print(darkroom.__file__)"
    there = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment, cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(there.strip()).is_relative_to(target)
    asked = ["prepare", "--recipe", "digits", "--output", "data", "--show-config"]
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "darkroom", *asked],
        env=environment, cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "output" in shown


def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(tmp_path: Path) -> None:
    done = make(tmp_path / "dist", "--image=podman", "--changed")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "RELEASE_IMAGE: got 'podman'; one of auto, docker" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    done = make(tmp_path / "mine", "--image=none", "--changed")
    assert "holds what is no release" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def read(archive: Path, name: str) -> dict[str, Any]:
    """A JSON file of an OCI archive."""
    with tarfile.open(archive) as packed:
        file = packed.extractfile(name)
        assert file is not None
        return dict(json.loads(file.read()))


def blob(descriptor: dict[str, Any]) -> str:
    """Where an OCI archive has it."""
    return f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("buildah") is None, reason="needs root and buildah"
)
def test_a_test_image_says_what_it_is(tmp_path: Path) -> None:
    name = "localhost/darkroom-release-test"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    images.buildah("build", "--quiet", "--tag", name, str(tmp_path))
    archive = tmp_path / "image.oci.tar"
    try:
        image.pack(name, archive)
    finally:
        images.buildah("rmi", "--force", name)
    manifest = read(archive, "index.json")["manifests"][0]
    named = manifest["annotations"]["org.opencontainers.image.ref.name"]
    assert named == f"{image.TEST_NAME}:{VERSION}"
    config = read(archive, blob(read(archive, blob(manifest))["config"]))["config"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == image.TEST_NAME
    assert labels["org.opencontainers.image.base.name"] == images.BASE

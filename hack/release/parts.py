"""The parts of a release that need no cluster: wheel, charts, manifests, CRDs, lock.

Each writes files into a folder. What they read is what the commit holds: the caller has made sure
that nothing differs from it. Dates are the commit's, so that a second run writes the same bytes.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from testcluster.binaries import source_directory
from testcluster.settings import BIN, PROJECT, project_version, versions

CHARTS = ("darkroom-cluster", "darkroom-job", "darkroom-service")


def wheel(folder: Path, epoch: int) -> None:
    """The Python package, by the back end that the lock pins."""
    program = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-c", program, str(folder)]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)


def lock(folder: Path) -> None:
    """What the wheel is tested with, by hashes: `uv pip install --require-hashes -r` this first."""
    name = f"darkroom-{project_version()}-requirements.txt"
    shutil.copyfile(PROJECT / "requirements" / "runtime.txt", folder / name)


def charts(folder: Path, epoch: int) -> None:
    """Each chart with the library chart inside, for `helm install NAME FILE`."""
    for chart in CHARTS:
        command = [str(BIN / "helm"), "package", str(PROJECT / "charts" / chart)]
        command += ["--destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"release: helm package {chart}: {done.stderr.strip()}")
        _normalise(folder / f"{chart}-{project_version()}.tgz", epoch)


def manifests(folder: Path, epoch: int) -> None:
    """`manifests/` whole: its kustomizations name nothing outside of it."""
    entries = {
        str(path.relative_to(PROJECT)): path.read_bytes()
        for path in sorted((PROJECT / "manifests").rglob("*"))
        if path.is_file()
    }
    target = folder / f"darkroom-manifests-{project_version()}.tar.gz"
    target.write_bytes(_tar_gz(entries, epoch))


def crds(folder: Path) -> None:
    """KubeRay's kinds, at the version that the tests run, for `kubectl apply --server-side`."""
    bases = source_directory("KUBERAY") / "config" / "crd" / "bases"
    texts = [path.read_text().removeprefix("---\n") for path in sorted(bases.glob("*.yaml"))]
    if not texts:
        raise SystemExit(f"release: no CRDs in {bases}")
    version = versions()["KUBERAY_VERSION"].removeprefix("v")
    (folder / f"kuberay-crds-{version}.yaml").write_text("---\n".join(texts))


def _normalise(archive: Path, epoch: int) -> None:
    """The same archive with the commit's date and nobody's name: Helm writes the hour."""
    with tarfile.open(archive) as packed:
        entries = {
            entry.name: content.read()
            for entry in packed
            if entry.isfile() and (content := packed.extractfile(entry))
        }
    # Chart.yaml first, as Helm has it.
    archive.write_bytes(_tar_gz(entries, epoch))


def _tar_gz(entries: dict[str, bytes], epoch: int) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()

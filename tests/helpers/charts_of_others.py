"""A Helm repository in the place of other projects': charts of the names and versions that we ask.

No registry is in reach of the tests. The operator's chart holds upstream's own objects: kinds,
permissions, the Deployment. Those of Kueue and Prometheus hold the kinds alone, which is what the
entry points need of them: their pods would not run, and a webhook that nobody serves lets nothing
pass.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from schemas import download, pinned_modules
from testcluster import kuberay
from testcluster.settings import path_with_binaries, versions

# Chart -> the module that its kinds come from, of hack/charts/crd-modules.txt.
MODULES = {
    "kuberay-operator": "github.com/ray-project/kuberay/ray-operator",
    "kueue": "sigs.k8s.io/kueue",
    "kube-prometheus-stack": "github.com/prometheus-operator/prometheus-operator",
}
PROMETHEUS_VERSION = "77.14.0"
"""One that the entry points' 77.x takes."""


@contextmanager
def served_charts(folder: Path) -> Iterator[str]:
    """Packs the charts into an empty folder and serves them; the repository's URL."""
    given = {
        "kuberay-operator": versions()["KUBERAY_VERSION"].removeprefix("v"),
        "kueue": versions()["KUEUE_VERSION"].removeprefix("v"),
        "kube-prometheus-stack": PROMETHEUS_VERSION,
    }
    packed = folder / "packed"
    for name, version in given.items():
        chart = folder / name
        (chart / "crds").mkdir(parents=True)
        (chart / "templates").mkdir()
        about = {"apiVersion": "v2", "name": name, "version": version}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
        for path in _kinds(MODULES[name]):
            shutil.copyfile(path, chart / "crds" / path.name)
        if name == "kuberay-operator":
            (chart / "templates" / "operator.yaml").write_text(_operator(folder / "operator"))
        _helm("package", str(chart), f"--destination={packed}")
    handler = functools.partial(_Quiet, directory=str(packed))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        _helm("repo", "index", str(packed), f"--url={url}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield url
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing of requests."""


def _kinds(module: str) -> list[Path]:
    (found,) = (each for each in pinned_modules() if each[0].startswith(f"{module}@"))
    name, place = found
    return [path for path in sorted((download(name) / place).glob("*.yaml")) if _is_crd(path)]


def _is_crd(path: Path) -> bool:
    return "\nkind: CustomResourceDefinition\n" in path.read_text()


def _operator(folder: Path) -> str:
    """What upstream's own configuration has beside the kinds."""
    upstream = kuberay.kustomization(folder, "rbac", "manager")
    rendered = kuberay.kubectl("kustomize", str(upstream))
    assert "{{" not in rendered, "Helm would take it for a template"
    return rendered


def _helm(*arguments: str) -> None:
    subprocess.run(
        ["helm", *arguments], env=path_with_binaries(), check=True, capture_output=True, timeout=60
    )

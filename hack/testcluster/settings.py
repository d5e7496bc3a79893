"""Where the test cluster keeps its files, the addresses it uses, and the versions it is made of."""

import os
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
CACHE = PROJECT / ".cache" / "cluster"

BIN = CACHE / "bin"  # kept: binaries built from source
STORAGE = CACHE / "images"  # kept: the image builder's layers
NODE = CACHE / "node"  # removed by `down`: everything of one running cluster
LOGS = CACHE / "logs"  # kept until the next `up`, for reading after a failure
KUBECONFIG = NODE / "kubeconfig"

NODE_NAME = "darkroom-node"
# One bridge carries the pods; its address is also that of the node and the API server.
POD_CIDR = "10.244.0.0/24"
NODE_ADDRESS = "10.244.0.1"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
# Where Kubernetes' node-local DNS cache is, which network policies let pods reach.
DNS_ADDRESS = "169.254.20.10"
API_SERVER = f"https://{NODE_ADDRESS}:6443"
# The cable between the machine and the node's network namespace.
HOST_LINK, HOST_LINK_ADDRESS = "darkroom-host", "10.255.244.1"
NODE_LINK, NODE_LINK_ADDRESS = "darkroom-node", "10.255.244.2"
# Every process of a pod lives below this control group.
CGROUP = "darkroom-test"


def project_version() -> str:
    """Darkroom's own version: the tag of the images."""
    text = (PROJECT / "src" / "darkroom" / "__init__.py").read_text()
    match = re.search(r'__version__ = "(.+?)"', text)
    if match is None:
        raise LookupError("src/darkroom/__init__.py names no __version__")
    return match[1]


def versions() -> dict[str, str]:
    """The pins of `hack/versions.env`, by name."""
    lines = (PROJECT / "hack" / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def path_with_binaries() -> dict[str, str]:
    """The environment with the built binaries first on PATH."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

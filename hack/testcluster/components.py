"""The command line and the configuration file of each process of the node."""

import json
from pathlib import Path
from typing import Any

from testcluster.credentials import Credentials
from testcluster.settings import (
    API_SERVER,
    API_SERVICE_ADDRESS,
    BIN,
    CGROUP,
    DNS_ADDRESS,
    NODE,
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
)

CREDENTIALS = Credentials(
    NODE / "credentials", API_SERVER, addresses=(NODE_ADDRESS, API_SERVICE_ADDRESS)
)
DIRECTORY = CREDENTIALS.directory
RUN = Path("/run")  # a tmpfs of the node's own
BRIDGE = "darkroom0"
PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD_SOCKET = RUN / "containerd" / "containerd.sock"


def etcd() -> list[str]:
    """The store of the API server, in memory: it lives as long as the node."""
    return ["etcd", f"--data-dir={RUN}/etcd", "--unsafe-no-fsync", "--log-level=warn"]


def api_server() -> list[str]:
    return [
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={NODE_ADDRESS}",
        f"--bind-address={NODE_ADDRESS}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        *CREDENTIALS.api_server_flags,
        # Without a client certificate the kubelet answers `kubectl logs` with 401.
        f"--kubelet-client-certificate={DIRECTORY}/kubelet-client.crt",
        f"--kubelet-client-key={DIRECTORY}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--endpoint-reconciler-type=lease",
        "--profiling=false",
    ]


def controller_manager() -> list[str]:
    return [
        "kube-controller-manager",
        *_client("controller-manager"),
        *CREDENTIALS.controller_flags,
        "--leader-elect=false",
        "--profiling=false",
    ]


def scheduler() -> list[str]:
    return ["kube-scheduler", *_client("scheduler"), "--leader-elect=false", "--profiling=false"]


def kube_proxy() -> list[str]:
    address = ["--bind-address-hard-fail", "--healthz-bind-address=127.0.0.1:10256"]
    mode = ["--proxy-mode=iptables", f"--cluster-cidr={POD_CIDR}", "--conntrack-max-per-core=0"]
    return [
        "kube-proxy",
        f"--kubeconfig={CREDENTIALS.kubeconfig('proxy')}",
        f"--hostname-override={NODE_NAME}",
        *mode,
        *address,
    ]


def kube_router() -> list[str]:
    """Enforces network policies; routes and services are the bridge's and kube-proxy's."""
    parts = ["--run-firewall=true", "--run-router=false", "--run-service-proxy=false"]
    return [
        "kube-router",
        f"--kubeconfig={CREDENTIALS.kubeconfig('kube-router')}",
        f"--hostname-override={NODE_NAME}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        *parts,
        "--health-port=0",
        "--metrics-port=0",
    ]


def coredns() -> list[str]:
    corefile = f""".:53 {{
  bind {DNS_ADDRESS}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {CREDENTIALS.kubeconfig("coredns")}
  }}
  cache 5
}}
"""
    return ["coredns", "-conf", _write("Corefile", corefile)]


def containerd() -> list[str]:
    config = f"""\
version = 3
root = "/var/lib/containerd"
state = "{RUN}/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Root without CAP_SYS_RESOURCE may not lower a score: every sandbox would die in runc's init.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{RUN}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{BIN}/runc"
  SystemdCgroup = false
"""
    cni = RUN / "cni"
    cni.mkdir(exist_ok=True)
    (cni / "10-bridge.conflist").write_text(json.dumps(_pod_network()))
    return ["containerd", "--config", _write("containerd.toml", config), "--log-level", "warn"]


def _pod_network() -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": f"{RUN}/ipam",
        "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}


def kubelet() -> list[str]:
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": f"{DIRECTORY}/ca.crt"},
        },
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "address": NODE_ADDRESS,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi"},
    }
    path = _write("kubelet.json", json.dumps(config, indent=2))
    names = [f"--hostname-override={NODE_NAME}", f"--node-ip={NODE_ADDRESS}"]
    return [
        "kubelet",
        "--config",
        path,
        f"--kubeconfig={CREDENTIALS.kubeconfig('kubelet')}",
        "--root-dir=/var/lib/kubelet",
        *names,
    ]


def _client(name: str) -> list[str]:
    """Flags of a control-plane client that listens on loopback only."""
    path = CREDENTIALS.kubeconfig(name)
    return [
        f"--kubeconfig={path}",
        f"--authentication-kubeconfig={path}",
        f"--authorization-kubeconfig={path}",
        "--authentication-skip-lookup",
        "--bind-address=127.0.0.1",
    ]


def _write(name: str, text: str) -> str:
    path = NODE / name
    path.write_text(text)
    return str(path)

"""The node's certificates, tokens and kubeconfigs: new for every cluster, gone with it."""

import secrets
import subprocess
from pathlib import Path

from testcluster.settings import (
    API_SERVER,
    API_SERVICE_ADDRESS,
    KUBECONFIG,
    NODE,
    NODE_ADDRESS,
    NODE_NAME,
)

DIRECTORY = NODE / "credentials"
TOKENS = DIRECTORY / "tokens.csv"
USERS = {
    # file name: (user, group); the groups are those that Kubernetes binds its own roles to.
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "coredns": ("coredns", "system:masters"),
}
SERVER_NAMES = [
    f"IP:{NODE_ADDRESS}",
    f"IP:{API_SERVICE_ADDRESS}",
    *(f"DNS:{name}" for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc")),
    "DNS:kubernetes.default.svc.cluster.local",
]


def create() -> None:
    """Writes the authority, the certificates, a token per user and a kubeconfig for each."""
    DIRECTORY.mkdir(parents=True, mode=0o700)
    _openssl("req", "-x509", *_new_key("ca"), "-subj", "/CN=darkroom-test-cluster", "-days", "30")
    _signed("apiserver", "/CN=kube-apiserver", f"subjectAltName={','.join(SERVER_NAMES)}")
    _signed("kubelet-client", "/O=system:masters/CN=kube-apiserver", "extendedKeyUsage=clientAuth")
    _openssl("genrsa", "-out", "service-account.key", "2048")
    tokens = {name: secrets.token_hex(16) for name in USERS}
    TOKENS.write_text(
        "".join(f'{tokens[n]},{user},{n},"{group}"\n' for n, (user, group) in USERS.items())
    )
    for name, token in tokens.items():
        kubeconfig(name).write_text(_kubeconfig(token))
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(kubeconfig("admin").read_text())


def kubeconfig(name: str) -> Path:
    """The kubeconfig of one of USERS."""
    return DIRECTORY / f"{name}.kubeconfig"


def _new_key(name: str) -> list[str]:
    return ["-newkey", "rsa:2048", "-noenc", "-keyout", f"{name}.key", "-out", f"{name}.crt"]


def _signed(name: str, subject: str, extension: str) -> None:
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key"]
    _openssl(
        "req",
        "-x509",
        *authority,
        *_new_key(name),
        "-subj",
        subject,
        "-addext",
        extension,
        "-days",
        "30",
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=DIRECTORY, check=True, capture_output=True)


def _kubeconfig(token: str) -> str:
    return f"""\
apiVersion: v1
kind: Config
current-context: darkroom-test
clusters:
  - name: darkroom-test
    cluster: {{server: "{API_SERVER}", certificate-authority: {DIRECTORY}/ca.crt}}
contexts:
  - name: darkroom-test
    context: {{cluster: darkroom-test, user: darkroom-test}}
users:
  - name: darkroom-test
    user: {{token: {token}}}
"""

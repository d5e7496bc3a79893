"""A cluster's certificates, tokens and kubeconfigs: new for every cluster, gone with it."""

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testcluster.settings import NODE_NAME

USERS = {
    # file name: (user, group); the groups are those that Kubernetes binds its own roles to.
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "coredns": ("coredns", "system:masters"),
    "kube-router": ("kube-router", "system:masters"),
}


@dataclass(frozen=True)
class Credentials:
    """All of one API server, in a folder."""

    directory: Path
    server: str
    """The API server's address: https://host:port."""
    addresses: tuple[str, ...]
    """Under which its certificate holds, beside the names of the service `kubernetes`."""

    @property
    def tokens(self) -> Path:
        """A token per user, as the API server reads them."""
        return self.directory / "tokens.csv"

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of one of USERS."""
        return self.directory / f"{name}.kubeconfig"

    @property
    def api_server_flags(self) -> list[str]:
        """What the API server is told of them."""
        return [
            f"--token-auth-file={self.tokens}",
            f"--tls-cert-file={self.directory}/apiserver.crt",
            f"--tls-private-key-file={self.directory}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self.directory}/service-account.key",
            f"--service-account-signing-key-file={self.directory}/service-account.key",
        ]

    @property
    def controller_flags(self) -> list[str]:
        """What the controller manager is told of them."""
        return [
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.directory}/service-account.key",
            f"--root-ca-file={self.directory}/ca.crt",
        ]

    def create(self) -> None:
        """Writes the authority, the certificates, a token per user and a kubeconfig for each."""
        self.directory.mkdir(parents=True, mode=0o700)
        authority = ["-subj", "/CN=darkroom-test-cluster", "-days", "30"]
        self._openssl("req", "-x509", *_new_key("ca"), *authority)
        self._signed("apiserver", "/CN=kube-apiserver", f"subjectAltName={self._names()}")
        client = "/O=system:masters/CN=kube-apiserver"
        self._signed("kubelet-client", client, "extendedKeyUsage=clientAuth")
        self._openssl("genrsa", "-out", "service-account.key", "2048")
        tokens = {name: secrets.token_hex(16) for name in USERS}
        self.tokens.write_text(
            "".join(f'{tokens[n]},{user},{n},"{group}"\n' for n, (user, group) in USERS.items())
        )
        for name, token in tokens.items():
            self.write_kubeconfig(name, token)

    def write_kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig with a bearer token, readable by its owner alone."""
        path = self.kubeconfig(name)
        path.touch(mode=0o600)
        path.write_text(_kubeconfig(self.server, self.directory / "ca.crt", token))
        return path

    def write_server_certificate(self, folder: Path) -> None:
        """tls.crt and tls.key of another server at the same addresses."""
        self._signed("server", "/CN=server", f"subjectAltName={self._names()}")
        for suffix in ("crt", "key"):
            (self.directory / f"server.{suffix}").replace(folder / f"tls.{suffix}")

    def _names(self) -> str:
        names = [f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc")]
        names.append("kubernetes.default.svc.cluster.local")
        return ",".join(
            [*(f"IP:{each}" for each in self.addresses), *(f"DNS:{each}" for each in names)]
        )

    def _signed(self, name: str, subject: str, extension: str) -> None:
        authority = ["-CA", "ca.crt", "-CAkey", "ca.key"]
        names = ["-subj", subject, "-addext", extension, "-days", "30"]
        self._openssl("req", "-x509", *authority, *_new_key(name), *names)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


def _new_key(name: str) -> list[str]:
    return ["-newkey", "rsa:2048", "-noenc", "-keyout", f"{name}.key", "-out", f"{name}.crt"]


def _kubeconfig(server: str, authority: Path, token: str) -> str:
    return f"""\
apiVersion: v1
kind: Config
current-context: darkroom-test
clusters:
  - name: darkroom-test
    cluster: {{server: "{server}", certificate-authority: {authority}}}
contexts:
  - name: darkroom-test
    context: {{cluster: darkroom-test, user: darkroom-test}}
users:
  - name: darkroom-test
    user: {{token: {token}}}
"""

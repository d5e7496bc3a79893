"""The one door to the Kubernetes API: plain dicts in, plain dicts out, errors translated.

Everything else in this package works on dicts, so it can be tested without a cluster. The official
client is imported only here. Objects are applied server-side: a dry-run says what an apply would.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import DynamicApiError, ResourceNotFoundError
from kubernetes.stream import stream
from ruamel.yaml import YAML

from darkroom.cluster.finding import label
from darkroom.errors import DarkroomError, InputError
from darkroom.messages import first_line

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

FIELD_MANAGER = "darkroom-submit"
_OTHER_MANAGER = "Apply failed with"
"""So the API server begins where another field manager (kubectl, an operator) owns a field."""
TIMEOUT_SECONDS = 30

# Neither has types.
_config: Any = config
_dynamic: Any = dynamic

Object = dict[str, Any]


class RefusedError(InputError):
    """The API server refuses the object."""


class ClusterError(DarkroomError):
    """The cluster does not answer, or answers with an error that waiting may mend."""


class Cluster:
    """One namespace of one cluster."""

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        *,
        force_conflicts: bool = False,
    ) -> None:
        """Reads the kubeconfig as kubectl does, or the pod's own account inside a cluster.

        force_conflicts: an apply takes over fields that another manager has written.
        Errors: InputError when there is no usable configuration.
        """
        try:
            _load_config(context)
        except Exception as error:  # noqa: BLE001 - of YAML, files, base64, certificates
            # What follows the first line quotes the file, credentials and all.
            first = first_line(error)
            remedy = "set KUBECONFIG, or name a context that it has"
            raise InputError("context", context, f"no usable kubeconfig: {first}", remedy) from None
        self.namespace = namespace or _current_namespace(context)
        self._force_conflicts = force_conflicts
        self._api: Any = client.ApiClient()
        self._core = client.CoreV1Api(self._api)
        self._dynamic: Any = None

    def apply(self, manifest: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply; creation where the server is to choose the name (generateName).

        force: as `force_conflicts`, for this one.
        Returns the object as the server has it. Errors: RefusedError, ClusterError.
        """
        resource = self._resource(manifest)
        arguments: dict[str, Any] = {"field_manager": FIELD_MANAGER, "_request_timeout": 60}
        if dry_run:
            arguments["dry_run"] = "All"
        metadata = manifest["metadata"]
        if resource.namespaced:
            arguments["namespace"] = metadata.get("namespace") or self.namespace
        try:
            if metadata.get("name"):
                applied = resource.server_side_apply(
                    body=manifest,
                    name=metadata["name"],
                    force_conflicts=self._force_conflicts or force,
                    **arguments,
                )
            else:
                applied = resource.create(body=manifest, **arguments)
        except DynamicApiError as error:
            raise _translate(error, label(manifest)) from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}") from None
        return dict(applied.to_dict())

    def create(self, manifest: Object) -> Object | None:
        """Creation alone, which needs no permission to change what is there; None when it is.

        Errors: RefusedError, ClusterError.
        """
        resource = self._resource(manifest)
        try:
            made = resource.create(body=manifest, namespace=self.namespace, _request_timeout=60)
        except DynamicApiError as error:
            if error.status == 409 and _reason(error) == "AlreadyExists":
                return None
            raise _translate(error, label(manifest)) from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}") from None
        return dict(made.to_dict())

    def get(self, api_version: str, kind: str, name: str) -> Object | None:
        """The object, or None. Errors: ClusterError."""
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
        resource = self._resource(manifest)
        try:
            found = resource.get(
                name=name, namespace=self.namespace, _request_timeout=TIMEOUT_SECONDS
            )
        except DynamicApiError as error:
            if error.status == 404:
                return None
            raise _translate(error, f"{kind}/{name}") from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}") from None
        return dict(found.to_dict())

    def delete(self, api_version: str, kind: str, name: str) -> bool:
        """Delete the object; False when there is none."""
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
        try:
            self._resource(manifest).delete(name=name, namespace=self.namespace)
        except DynamicApiError as error:
            if error.status == 404:
                return False
            raise _translate(error, f"{kind}/{name}") from None
        return True

    def pods(self, selector: str) -> list[Object]:
        """Pods that a label selector picks."""
        return self._list(self._core.list_namespaced_pod, label_selector=selector)

    def events(self) -> list[Object]:
        """Every event of the namespace, oldest first."""
        found = self._list(self._core.list_namespaced_event)
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or ""))

    def log(self, pod: str, container: str, *, previous: bool = False, tail: int = 5000) -> str:
        """The last lines of a container's log; empty when there is none."""
        try:
            text = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                previous=previous,
                tail_lines=tail,
                _request_timeout=TIMEOUT_SECONDS,
            )
        except ApiException as error:
            if error.status in (400, 404):
                return ""
            raise _translate(error, f"pod/{pod}") from None
        return str(text or "")

    def follow_log(self, pod: str, container: str, since: str | None) -> Iterator[str]:
        """Lines with their time in front, until the container or the connection ends.

        `since` is the time of the last line that came; it comes again. Errors: ClusterError.
        """
        query = [("container", container), ("follow", "true"), ("timestamps", "true")]
        if since:
            # The generated method has only sinceSeconds, which would lose or repeat lines.
            query.append(("sinceTime", since))
        request = self._api.param_serialize(
            "GET",
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            path_params={"namespace": self.namespace, "name": pod},
            query_params=query,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._api.call_api(*request, _request_timeout=(TIMEOUT_SECONDS, 300))
            _check_status(answer)
            yield from _lines(answer.response)
        except ApiException as error:
            raise _translate(error, f"pod/{pod}") from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the log of pod/{pod} broke off: {error}") from None

    def run(self, pod: str, container: str, command: list[str]) -> str:
        """Output of a command in a running container. Errors: ClusterError."""
        try:
            # A client of its own: the stream helper rewires the one it is given, and a log may be
            # read in another thread.
            core = client.CoreV1Api(client.ApiClient())
            output = stream(
                core.connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                container=container,
                command=command,
                stdout=True,
                stderr=False,
                stdin=False,
                tty=False,
                _request_timeout=TIMEOUT_SECONDS,
            )
        except ApiException as error:
            raise ClusterError(f"cannot run a command in pod/{pod}: {error.reason}") from None
        return str(output)

    def _list(self, method: Any, **arguments: Any) -> list[Object]:
        try:
            found = method(self.namespace, _request_timeout=TIMEOUT_SECONDS, **arguments)
        except ApiException as error:
            raise _translate(error, f"namespace/{self.namespace}") from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}") from None
        return [dict(self._api.sanitize_for_serialization(item)) for item in found.items]

    def _resource(self, manifest: Object) -> Any:
        try:
            if self._dynamic is None:
                self._dynamic = _dynamic.DynamicClient(self._api)
            return self._dynamic.resources.get(
                api_version=manifest["apiVersion"], kind=manifest["kind"]
            )
        except ResourceNotFoundError:
            kind = f"{manifest['apiVersion']} {manifest['kind']}"
            remedy = "install what defines it, such as the KubeRay operator"
            raise RefusedError(
                "kind", kind, "the cluster does not know this kind", remedy
            ) from None
        except (ApiException, DynamicApiError) as error:
            raise _translate(error, "the API") from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}") from None


def _kubeconfig() -> str | None:
    """Files, as KUBECONFIG names them now; None where there is none, as inside a cluster."""
    path = os.environ.get("KUBECONFIG") or "~/.kube/config"
    there = any(Path(one).expanduser().exists() for one in path.split(os.pathsep) if one)
    return path if there else None


def _load_config(context: str | None) -> None:
    # Not the client's load_config: it looks at KUBECONFIG once, at its import, takes a list of
    # files for one, and prints.
    path = _kubeconfig()
    if path is None:
        _config.load_incluster_config()
    else:
        _config.load_kube_config(config_file=path, context=context or _active_context(path))


def _active_context(path: str) -> str | None:
    """The first file's that has one, as for kubectl; the client takes the last one's."""
    files = [Path(one).expanduser() for one in path.split(os.pathsep) if one]
    for file in files:
        config = YAML(typ="safe").load(file) if file.exists() else None
        if isinstance(config, dict) and config.get("current-context"):
            return str(config["current-context"])
    return None


def _current_namespace(context: str | None) -> str:
    path = _kubeconfig()
    if path is None:
        return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else "default"
    contexts, active = _config.list_kube_config_contexts(config_file=path)
    name = context or _active_context(path)
    chosen = next((c for c in contexts if c["name"] == name), active)
    return str(chosen["context"].get("namespace") or "default")


def _translate(error: Any, subject: str) -> DarkroomError:
    """4xx is the user's to mend, but for conflicts and throttling; the rest may pass.

    A server-side apply answers 500 to a field that a CRD does not know.
    """
    status = error.status or 0
    message = _message(error)
    if status == 409 and message.startswith(_OTHER_MANAGER):
        remedy = "--force-conflicts takes these fields over"
        return RefusedError(subject, None, f"others have written what this sets: {message}", remedy)
    unknown_field = "failed to create typed patch object" in message
    if unknown_field or (400 <= status < 500 and status not in (409, 429)):
        return RefusedError(subject, None, f"refused by the API server: {message}")
    return ClusterError(f"{subject}: the API server answered {status}: {message}")


def _check_status(answer: Any) -> None:
    """A raw call raises nothing by itself."""
    if answer.status != 200:
        raise ApiException(status=answer.status, reason=answer.reason, body=answer.read())


def _message(error: Any) -> str:
    return _field(error, "message") or str(error.reason)


def _reason(error: Any) -> str:
    return _field(error, "reason")


def _field(error: Any, name: str) -> str:
    """A field of the Status that the API server answers with; empty when it is none."""
    try:
        return str(json.loads(error.body)[name])
    except (TypeError, ValueError, KeyError):
        return ""


def _lines(response: Any) -> Iterator[str]:
    """Whole lines of a response that streams; a torn last line is dropped, it comes again."""
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")

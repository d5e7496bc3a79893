"""The service's entry point under Flux, as far as a service gets where no Ray runs."""

from __future__ import annotations

from testcluster import flux
from tests.helpers.flux_entry import KIND, FluxEntry
from tests.helpers.flux_release import NAMESPACE, FluxRelease

VALUES = "manifests/overlays/dev/values/service-values.yaml"


def test_a_service_is_entered_and_waited_for(entry: FluxEntry, entered: FluxRelease) -> None:
    """Its pods do not run. It is given up by the operator's own word, and Flux says so."""
    ours = entered.kubectl
    ours("create", "secret", "generic", "api-keys", "--from-literal=team-a=0123456789")
    (name,) = entry.enter("dev/flux/serve")

    def reason() -> str:
        """Why the operator calls the service ready, or not."""
        return str(entry.flux.condition("rayservice", "draw", NAMESPACE, "Ready").get("reason"))

    def until(what: str, seen: object) -> None:
        entry.flux.until(what, seen, pods=False)  # type: ignore[arg-type]

    until("the release", lambda: entry.flux.is_ready("helmrelease", "draw", NAMESPACE))
    until("the operator", lambda: reason() == "Initializing")
    # Installed, and not yet ready: what depends on it waits.
    said = entry.flux.condition(KIND, name, flux.NAMESPACE, "Ready")
    assert said["status"] == "Unknown", said

    def hurry(values: dict[str, object]) -> None:
        values["annotations"] = {"ray.io/initializing-timeout": "8s"}

    entry.repository.edit(VALUES, hurry)
    entry.repository.commit("no patience")
    entry.flux.reconcile("gitrepository", "darkroom", flux.NAMESPACE)
    until("the operator's end", lambda: reason() == "InitializingTimeout")

    def given_up() -> bool:
        said = entry.flux.condition(KIND, name, flux.NAMESPACE, "Ready")
        return said.get("reason") == "HealthCheckFailed" and "draw" in said["message"]

    until("its health", given_up)

    entry.cluster.within(flux.NAMESPACE)("delete", KIND, name, timeout=120)
    until("the service gone", lambda: not entry.flux.get("rayservice", "draw", NAMESPACE))
    entry.reaches(entry.repository.revert(), "darkroom")

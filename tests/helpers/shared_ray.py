"""One Ray for all the modules of a test process that need any, started when first asked for."""

from __future__ import annotations

from contextlib import ExitStack

from darkroom.jobs.session import ray_session


class SharedRay:
    """A local Ray that stays for the modules after the one that started it."""

    def __init__(self) -> None:
        self._session = ExitStack()

    def start(self) -> None:
        """Start it, unless it runs."""
        import ray

        if not ray.is_initialized():
            self.stop()
            self._session.enter_context(ray_session())

    @property
    def address(self) -> str:
        """For RAY_ADDRESS of another driver."""
        import ray

        address: str = ray.get_runtime_context().gcs_address
        return address

    def stop(self) -> None:
        """End it, if it runs."""
        self._session.close()


SHARED_RAY = SharedRay()
"""This process's."""

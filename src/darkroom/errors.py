"""Every error Darkroom raises on purpose, and the exit code that each becomes.

    DarkroomError                       exit 1
    |-- InputError (ValueError)         exit 2: the user can fix it; names field, value, remedy
    |   |-- ConfigError                 a config, recipe or flag
    |   |-- UriError                    an s3:// URI or a path
    |   |-- DataError                   the contents of an input
    |   |-- OutputExistsError           the output is already published
    |   `-- StorageAccessError          bucket, permission, region, credentials, endpoint, disk
    |       `-- UnreachableError        nothing answers there, or not at this moment
    |-- StorageError                    the store failed while we worked
    |   |-- ObjectNotFoundError (FileNotFoundError)
    |   |-- IntegrityError              bytes do not match the manifest's digest
    |   |-- PreconditionFailedError     a conditional write lost its race
    |   `-- FencedError                 another driver took this output over
    |-- TrainingError
    |   |-- NonFiniteLossError          NaN or infinite loss
    |   `-- WorkerLostError             a rank stopped answering; names it
    |-- ServingError                    a request's picture was not drawn
    |   |-- DeadlineError               its time ran out
    |   |-- DeviceMemoryError           the device's memory did not suffice; a retry may do
    |   |-- ClosingError                the engine drains, and takes nothing new
    |   `-- ReplicaLostError            what drew is lost: its process, or its machine
    |-- GateError                       exit 3: the figures are not what was required of them
    `-- InterruptedBySignal             exit 143: stopped cleanly, resumable

Callers catch the base; leaves exist only where someone recovers differently. Foreign
errors (botocore, pyarrow, pydantic) are translated where they enter, never passed on. Whatever
they said is freed of secrets and bounded here, when the message is made.
"""

from __future__ import annotations

from darkroom.messages import message, quoted

_MAX_REMEDY = 600


class DarkroomError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1

    def __init__(self, *parts: object) -> None:
        super().__init__(*(message(part) if isinstance(part, str) else part for part in parts))


class InputError(DarkroomError, ValueError):
    """Bad input: one line that names the field, the value and the remedy."""

    exit_code = 2

    def __init__(self, field: str, value: object, problem: str, remedy: str = "") -> None:
        self.field, self.value = message(field, _MAX_REMEDY), value
        """A value of None is not shown: a secret, or nothing to show."""
        self.problem, self.remedy = message(problem), message(remedy, _MAX_REMEDY)
        got = "" if value is None else f"got {quoted(value)}, "
        line = f"{self.field}: {got}{self.problem}"
        # Each part is bounded by itself, so that a long problem never costs the remedy.
        Exception.__init__(self, f"{line}; {self.remedy}" if remedy else line)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        # Ray carries errors between processes by pickle, which would call __init__ with the
        # single formatted message.
        return type(self), (self.field, self.value, self.problem, self.remedy)


class ConfigError(InputError):
    """A config file, recipe or flag is wrong."""


class UriError(InputError):
    """A URI or a path is malformed or not allowed."""


class DataError(InputError):
    """An input's contents cannot be used."""


class OutputExistsError(InputError):
    """The output is already published, and neither --resume nor --overwrite was given."""


class StorageAccessError(InputError):
    """The store refuses this identity, bucket, region or endpoint."""


class UnreachableError(StorageAccessError):
    """No server answers at the endpoint: a mistake in its name, or an outage."""


def is_mendable(error: BaseException) -> bool:
    """Whether the user must mend it; a server that cannot be reached may come back by itself."""
    return isinstance(error, InputError) and not isinstance(error, UnreachableError)


class StorageError(DarkroomError):
    """The store failed while a job was using it."""


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """No such object."""


class IntegrityError(StorageError):
    """Bytes differ from the digest that the manifest promises."""


class PreconditionFailedError(StorageError):
    """A conditional write (If-Match, If-None-Match) lost against another writer."""


class FencedError(StorageError):
    """Another driver has taken this output over; this one must stop."""


class TrainingError(DarkroomError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite."""


class WorkerLostError(TrainingError):
    """A training worker stopped answering within its time limit."""


class ServingError(DarkroomError):
    """A request was in order, and its picture was not drawn."""


class DeadlineError(ServingError):
    """The time that the request allowed ran out."""


class DeviceMemoryError(ServingError):
    """The device ran out of memory: smaller batches are drawn from now on."""


class ClosingError(ServingError):
    """The engine is closing: another one must draw."""


class ReplicaLostError(ServingError):
    """What drew is lost, its process or its machine: another one may draw."""


class GateError(DarkroomError):
    """A model is not as good as was required; the work itself is done and published."""

    exit_code = 3


class InterruptedBySignal(DarkroomError):  # noqa: N818 - a stop on request is no error
    """SIGTERM or SIGINT arrived; everything done so far is kept and resumable."""

    exit_code = 143

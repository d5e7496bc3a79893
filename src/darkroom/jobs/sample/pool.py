"""Work shared out over restartable Ray actors: bounded queues, ordered results.

Ray itself replaces a dead actor and tries its tasks again, so a killed actor costs its own
batches in flight and nothing else. What a task does must therefore give the same result when
done twice; here every picture is a function of its seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from darkroom.errors import DarkroomError
from darkroom.jobs.ray_data import darkroom_errors

QUEUE_PER_ACTOR = 2
"""Tasks in flight per actor: one that runs, and one so that the next need not wait for us."""


def ordered_results(actors: Sequence[Any], method: str, tasks: Iterable[Any]) -> Iterator[Any]:
    """The results of `actor.method(task)` in the order of the tasks.

    At most two tasks per actor are in flight, and at most as many results wait for an earlier
    one, so memory stays bounded when one actor is slow or is being replaced.
    Errors: what the task raised, and DarkroomError when an actor died too often.
    """
    upcoming = enumerate(tasks)
    in_flight: dict[ray.ObjectRef[Any], tuple[int, Any]] = {}
    idle = [actor for _ in range(QUEUE_PER_ACTOR) for actor in actors]
    waiting: dict[int, Any] = {}
    next_index = 0
    try:
        while True:
            while idle and len(waiting) <= len(actors) * QUEUE_PER_ACTOR:
                index, task = next(upcoming, (-1, None))
                if index < 0:
                    break
                actor = idle.pop(0)
                in_flight[getattr(actor, method).remote(task)] = (index, actor)
            if not in_flight:
                return
            done, _ = ray.wait(list(in_flight), num_returns=1)
            index, actor = in_flight.pop(done[0])
            idle.append(actor)
            waiting[index] = _result(done[0])
            while next_index in waiting:
                yield waiting.pop(next_index)
                next_index += 1
    finally:
        # Or Ray tells the user of retries when the caller takes the actors away.
        for reference in in_flight:
            ray.cancel(reference)


def _result(reference: ray.ObjectRef[Any]) -> Any:
    try:
        with darkroom_errors():
            return ray.get(reference)
    except DarkroomError as error:
        if not isinstance(error.__cause__, RayActorError):
            raise
        raise DarkroomError(
            "a sampling actor died more often than max_restarts allows; if memory ran out, "
            f"lower batch_size or num_actors ({str(error.__cause__).splitlines()[0]})"
        ) from error

"""The thread that draws: takes arrivals in, lets the batcher choose, moves a batch on by one step.

Everything of torch happens here, so an event loop is never held up, and models need no locks. What
fails is told to those whose pictures were in it, and to nobody else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import cast

import torch

from darkroom.errors import ClosingError, DeviceMemoryError, ReplicaLostError, ServingError
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.drawing.drawer import Pixels
from darkroom.jobs.serve.engine.batcher import Batcher
from darkroom.jobs.serve.engine.caps import Caps, measure
from darkroom.jobs.serve.engine.failures import logged
from darkroom.jobs.serve.engine.joined import (
    AnyModel,
    BatchKey,
    Finished,
    StepModel,
    WholeModel,
    joins_steps,
    sample_request,
)
from darkroom.jobs.serve.engine.safety import SafetyCheck
from darkroom.jobs.serve.engine.stats import Counts
from darkroom.jobs.serve.engine.ticket import Ticket
from darkroom.jobs.serve.request import DrawRequest, ServedModel


class GoneError(Exception):
    """Nobody waits for this picture any more."""


class DrawingThread:
    """Loads with `load`, then draws until it is stopped.

    max_batch: most pictures at once, whatever the measurement says. turn_seconds: see Batcher.
    """

    def __init__(
        self,
        load: Callable[[], Mapping[str, AnyModel]],
        safety: SafetyCheck,
        *,
        max_batch: int,
        turn_seconds: float,
    ) -> None:
        self._load, self._safety, self._max_batch = load, safety, max_batch
        self.counts, self.caps = Counts(), Caps()
        self._models: Mapping[str, AnyModel] = {}
        self._batcher: Batcher[Ticket] = Batcher(self.caps.of, turn_seconds=turn_seconds)
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        """None asks to look at `_stop`."""
        self._queue = (0, 0, 0.0)
        self._stop: Exception | None = None
        self._draining = False
        self._loaded: Future[tuple[ServedModel, ...]] = Future()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, name="darkroom-drawing", daemon=True)

    # From other threads.

    def start(self) -> tuple[ServedModel, ...]:
        """Load and warm; returns when it draws. Errors: of loading."""
        self._thread.start()
        return self._loaded.result()

    def put(self, ticket: Ticket) -> None:
        """A request that is in order."""
        self._inbox.put(ticket)
        if self.ended:
            self._refuse_arrivals()

    def drain(self) -> Future[None]:
        """Draw what is there, then end; the future is done then."""
        self._draining = True
        self._inbox.put(None)
        return self._ended

    def stop(self) -> None:
        """End at the next step; those who wait get ClosingError."""
        self._stop = ClosingError("the service stopped before the picture was drawn")
        self._inbox.put(None)

    def queue(self) -> tuple[int, int, float]:
        """Pictures that wait for their first step, that are under way, and seconds of drawing that
        all of them need."""
        waiting, begun, seconds = self._queue
        return waiting + self._inbox.qsize(), begun, seconds

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    @property
    def ended(self) -> bool:
        return self._ended.done()

    @property
    def models(self) -> Mapping[str, AnyModel]:
        return self._models

    # On the thread itself.

    def _main(self) -> None:
        try:
            with torch.inference_mode():
                self._models = self._load()
                for model in self._models.values():
                    self._warm(model)
                self._loaded.set_result(tuple(model.served for model in self._models.values()))
                self._draw_all()
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            self._fail_all(error)
        finally:
            self._ended.set_result(None)
            self._refuse_arrivals()

    def _fail_all(self, error: BaseException) -> None:
        if not self._loaded.done():
            self._loaded.set_exception(error)
            return
        # Serve replaces this process: another may draw what is here and what still arrives.
        self._stop = ReplicaLostError(logged("the engine failed", error))
        for ticket in list(self._batcher):
            self._fail(ticket, self._stop)

    def _refuse_arrivals(self) -> None:
        """Nothing is drawn any more."""
        error = self._stop or ClosingError("the service is stopping")
        while True:
            try:
                ticket = self._inbox.get_nowait()
            except queue.Empty:
                return
            if ticket is not None:
                ticket.tell(error)

    def _warm(self, model: AnyModel) -> None:
        """Draw a little with it: kernels are chosen, and the cap of its usual shape is known."""
        request = sample_request(model.served)
        if joins_steps(model):
            self._measure(model, BatchKey.of(request, model), request)
            model.finish(model.begin(request))
        else:
            cast(WholeModel, model).draw(
                replace(request, num_steps=1), lambda _num_done, _look: None
            )

    def _measure(self, model: StepModel, key: BatchKey, like: DrawRequest) -> None:
        """Find the key's cap, once."""
        if not self.caps.knows(key):
            steps = max(like.num_steps, min(model.served.max_steps, 100))
            request = replace(like, num_steps=steps, num_previews=0)
            seconds = measure(lambda: model.begin(request), model.step, most=self._max_batch)
            self.caps.learn(key, seconds)

    def _draw_all(self) -> None:
        while True:
            self._take_arrivals()
            if self._stop is not None:
                for ticket in list(self._batcher):
                    self._fail(ticket, self._stop)
                return
            self._drop_cancelled()
            batch = self._batcher.next_batch()
            if batch:
                start = time.perf_counter()
                self._move_on(batch)
                self.counts.busy_seconds += time.perf_counter() - start
            elif self._draining and self._inbox.empty():
                return

    def _take_arrivals(self) -> None:
        """All that came meanwhile; waits where there is nothing else to do."""
        wait = not len(self._batcher) and not self._draining
        while True:
            try:
                ticket = self._inbox.get(block=wait)
            except queue.Empty:
                return
            wait = False
            if ticket is not None:
                self._batcher.add(ticket)

    def _drop_cancelled(self) -> None:
        for ticket in [each for each in self._batcher if each.cancelled]:
            self._batcher.remove(ticket)
            self.counts.cancelled += 1
        self._note_queue()

    def _note_queue(self) -> None:
        """For other threads, which must not look into the lines."""
        begun = sum(ticket.begun for ticket in self._batcher)
        seconds = sum(
            (ticket.request.num_steps - ticket.num_done) * self.caps.seconds_per_step(ticket.key)
            for ticket in self._batcher
        )
        self._queue = (len(self._batcher) - begun, begun, seconds)

    def _move_on(self, batch: Sequence[Ticket]) -> None:
        model = self._models[batch[0].key.model]
        if not joins_steps(model):
            self._whole(cast(WholeModel, model), batch[0])
            return
        begun = [ticket for ticket in batch if ticket.begun or self._begin(model, ticket)]
        # The cap may just have been found: whoever is beyond it waits, begun or not.
        begun = begun[: self.caps.of(batch[0].key)]
        if not begun:
            return
        start = time.perf_counter()
        try:
            model.step([ticket.picture for ticket in begun])
        except Exception as error:  # noqa: BLE001 - of torch, of the model
            self._fail_batch(begun, error)
            return
        self.counts.step_seconds += time.perf_counter() - start
        self.counts.steps += 1
        self.counts.rows += len(begun)
        for ticket in begun:
            ticket.num_done = ticket.picture.num_done
            ticket.largest_batch = max(ticket.largest_batch, len(begun))
            self._tell(model, ticket)

    def _begin(self, model: StepModel, ticket: Ticket) -> bool:
        try:
            self._measure(model, ticket.key, ticket.request)
            ticket.picture = model.begin(ticket.request)
        except Exception as error:  # noqa: BLE001 - its own prompt, its own noise
            self._fail_batch([ticket], error)
            return False
        self._count_begun(ticket)
        return True

    def _count_begun(self, ticket: Ticket) -> None:
        self.counts.begun += 1
        self.counts.waited_seconds += ticket.begin()

    def _tell(self, model: StepModel, ticket: Ticket) -> None:
        """What the picture's owner gets after a step."""
        picture = ticket.picture
        try:
            if picture.done:
                self._end(ticket, lambda: model.finish(picture))
            elif (index := ticket.preview_due()) is not None and not ticket.cancelled:
                self._preview(ticket, index, model.look(picture))
        except Exception as error:  # noqa: BLE001 - decoding may run out of memory by itself
            self._fail_batch([ticket], error)

    def _preview(self, ticket: Ticket, index: int, pixels: Pixels | None) -> None:
        """One that a checker keeps back is left out."""
        if pixels is not None and not self._safety.keeps_back(ticket.request, pixels):
            ticket.preview(index, pixels)

    def _end(self, ticket: Ticket, finish: Callable[[], Finished]) -> None:
        found = self._safety.checked(ticket.request, finish())
        self._batcher.remove(ticket)
        self.counts.drawn += 1
        self._note_queue()
        ticket.finish(found)

    def _whole(self, model: WholeModel, ticket: Ticket) -> None:
        """A picture from its first step to its last."""

        def on_step(num_done: int, look: Callable[[], Pixels | None]) -> None:
            ticket.num_done = num_done
            self.counts.steps += 1
            self.counts.rows += 1
            if ticket.cancelled or self._stop is not None:
                raise GoneError
            index = ticket.preview_due()
            if index is not None:
                self._preview(ticket, index, look())

        self._count_begun(ticket)
        ticket.largest_batch = 1
        try:
            self._end(ticket, lambda: model.draw(ticket.request, on_step))
        except GoneError:
            return  # the next look at those cancelled, or at `_stop`, takes it away
        except Exception as error:  # noqa: BLE001 - of the pipeline
            self._fail_batch([ticket], error)

    def _fail_batch(self, batch: Sequence[Ticket], error: Exception) -> None:
        told: Exception = error
        if is_out_of_memory(error):
            self.counts.out_of_memory += 1
            cap = self.caps.halve(batch[0].key, len(batch))
            told = DeviceMemoryError(
                f"the device ran out of memory drawing {len(batch)} pictures at once; "
                f"at most {cap} are drawn from now on"
            )
            error.__traceback__ = None  # its frames hold the tensors
        elif not isinstance(error, ServingError):
            # Of ours as well: the request was checked, so it is about what the service loads.
            told = ServingError(logged("the model failed", error))
        for ticket in batch:
            self._fail(ticket, told)
        if is_out_of_memory(error) and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        ticket.picture = None
        self._batcher.remove(ticket)
        self.counts.failed += 1
        self._note_queue()
        ticket.tell(error)

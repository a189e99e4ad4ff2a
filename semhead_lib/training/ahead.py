"""The inputs of steps to come, read, drawn and copied by a thread while the present step runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator

import torch

from semhead_lib.data.subjects import Batch
from semhead_lib.training.inputs import Inputs, Packing, Prepared, Variant

_SLOTS = 3  # one is in use, the others are filled meanwhile


class Ahead(Iterator[Prepared]):
    """An iterator of prepared inputs, and a context manager that ends its thread.

    What it gives depends on the batches and the numbers of the steps alone. What `next` gave is
    overwritten after the call of `next` that follows. The first `next` starts the thread; errors of
    the readers are raised by `next`.

    With several processes the draws exchange what they need, in step: every process fills all its
    slots before it ends, so that none waits for another in vain.
    """

    def __init__(
        self,
        draw: Callable[[int, Batch], tuple[Variant, Inputs]],
        batches: Iterator[Batch],  # on the CPU
        start: int,  # number of the first batch's step
        device: torch.device,
    ) -> None:
        self._draw, self._batches, self._step = draw, batches, start
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[tuple[_Slot, Prepared] | BaseException] = queue.SimpleQueue()
        for _ in range(_SLOTS):
            self._free.put(_Slot(device))
        self._used: _Slot | None = None
        self._thread: threading.Thread | None = None

    def __next__(self) -> Prepared:
        if self._thread is None:
            first = next(
                self._batches
            )  # not by the thread: it would have to start the readers' processes
            self._thread = threading.Thread(
                target=self._work, args=(first,), name="prepares batches", daemon=True
            )
            self._thread.start()
        if self._used is not None:
            self._used.release()
            self._free.put(self._used)
            self._used = None
        found = self._ready.get()
        if isinstance(found, BaseException):
            self._ready.put(found)  # for whoever asks again
            raise found
        self._used, prepared = found
        self._used.acquire()
        return prepared

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_) -> None:
        self._free.put(None)
        if self._thread is not None:
            self._thread.join()
        if isinstance(self._batches, Generator):  # ends its reading processes
            self._batches.close()

    def _work(self, batch: Batch) -> None:
        step = self._step
        try:
            while (slot := self._free.get()) is not None:
                variant, inputs = self._draw(step, batch)
                packing = slot.fill(inputs, self._stream)
                self._ready.put(
                    (slot, Prepared(step, variant, packing, slot.buffer[: packing.length]))
                )
                batch, step = next(self._batches), step + 1
        except BaseException as error:
            self._ready.put(error)


class _Slot:
    """Memory for the inputs of one step, used again and again: page-locked beside a GPU's.

    The copy to a GPU runs on a stream of its own, after all that was begun with the slot's former
    content; the training waits, on the GPU, for the copy.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.on_gpu = device, device.type == "cuda"
        self.host = self.buffer = torch.empty(0, dtype=torch.uint8)
        self._events = (
            (torch.cuda.Event(), torch.cuda.Event()) if self.on_gpu else None
        )  # filled, released

    def fill(self, inputs: Inputs, stream: torch.cuda.Stream | None) -> Packing:
        packing = Packing.of(inputs.tensors)
        if self._events is not None:
            self._events[0].synchronize()  # the copy from this host memory, long done
        if len(self.host) < packing.length:
            self.host = torch.empty(packing.length, dtype=torch.uint8, pin_memory=self.on_gpu)
        packing.write(inputs.tensors, self.host)
        if stream is None or self._events is None:
            self.buffer = self.host
            return packing
        with torch.cuda.stream(stream):
            filled, released = self._events
            stream.wait_event(released)
            if len(self.buffer) < len(self.host):
                self.buffer = torch.empty_like(self.host, device=self.device)
            self.buffer[: packing.length].copy_(self.host[: packing.length], non_blocking=True)
            filled.record(stream)
        return packing

    def acquire(self) -> None:
        """The current stream may use the content from now on."""
        if self._events is not None:
            torch.cuda.current_stream(self.device).wait_event(self._events[0])

    def release(self) -> None:
        """All that uses the content is in the current stream by now."""
        if self._events is not None:
            self._events[1].record(torch.cuda.current_stream(self.device))

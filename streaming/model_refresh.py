"""Which model serves: follow the approvals table, open the approved model, hand it over whole.

The highest sequence names the only digest that may serve. While it cannot be fetched the worker
goes on with the former one and says so; once it is refused the worker stops scoring, and the
events wait in Kafka.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import dataclass

from lockstep.contracts import EventDecoder
from lockstep.errors import ModelRefused
from lockstep.pipeline import Pipeline
from lockstep.registry.approved import approved_model, current
from lockstep.scoring import OnnxScorer, Scorer
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from streaming.patience import answered, patiently, waits_for
from streaming.status import Status

__all__ = ["ModelRefresher", "Serving"]

log = logging.getLogger("lockstep.stream")

_STOP_S = 5.0


@dataclass(frozen=True)
class Serving:
    """An approved model, open and warm, with the decoder of its own contract."""

    approval: int
    version: int
    digest: str
    scorer: Scorer
    decoder: EventDecoder
    entity: str | None
    id: str
    time: str


class ModelRefresher:
    """Keeps `serving` equal to what is approved. None: nothing may be scored now."""

    def __init__(self, settings: Settings, pipeline: Pipeline, status: Status) -> None:
        self._settings, self._pipeline, self._status = settings, pipeline, status
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-refresh", daemon=True)
        self._sequence: int | None = None
        self.serving: Serving | None = None

    def open(self, give_up: threading.Event) -> None:
        """Open the approved model. Raises ModelRefused when it does not fit; waits for services."""
        patiently(self._refresh, "model", self._status, give_up)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        # A daemon: what it may still wait for ends with the process.
        self._thread.join(_STOP_S)

    def wake(self) -> None:
        """Look now instead of at the next poll."""
        self._wake.set()

    def _follow(self) -> None:
        while True:
            self._wake.wait(self._pipeline.stream.approval_poll_s)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self._refresh()
                self._status.hold("model")
            except ModelRefused as error:
                self.serving, self._status.serving = None, {}
                self._status.fail("model", str(error))
            except Exception as error:
                if not waits_for(error):
                    log.exception("looking for the approved model failed")
                # Not a condition: what serves was approved and still serves.
                log.warning("cannot look for a newer approval: %s", error)

    def _refresh(self) -> None:
        use_case = self._pipeline.use_case
        with (
            closing(connect(self._settings, "scorer", use_case)) as connection,
            answered(connection),
        ):
            newest = current(connection)
            if self.serving and newest and newest.sequence == self.serving.approval:
                return
            approval, model = approved_model(self._settings, use_case, connection)
        if model.window_names:
            raise ModelRefused(
                f"windows: digest {approval.digest[:12]} reads window features"
                f" ({', '.join(model.window_names[:3])}), which this worker does not compute",
                next=f"lockstep approve {use_case} a version without windows",
            )
        contract = model.contract
        scorer = OnnxScorer(model)
        scorer.warm()
        self.serving = Serving(
            approval=approval.sequence,
            version=approval.model_version,
            digest=approval.digest,
            scorer=scorer,
            decoder=EventDecoder(contract, max_bytes=self._pipeline.stream.max_value_bytes),
            entity=contract.entity,
            id=contract.id,
            time=contract.time,
        )
        self._status.serving = {
            "approval": approval.sequence,
            "model_version": approval.model_version,
            "model_digest": approval.digest,
        }
        log.info("serving version %s, digest %s", approval.model_version, approval.digest)

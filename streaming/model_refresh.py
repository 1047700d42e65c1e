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

from lockstep.contracts import Contract, Judge
from lockstep.errors import LockstepError, ModelRefused, reason_of
from lockstep.kafka.reader import Reader
from lockstep.pipeline import Pipeline
from lockstep.registry.approved import Approval, approved_model, current
from lockstep.registry.rest import Heard, unheard
from lockstep.scoring import Scorer, open_scorer
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from lockstep.windows.semantics import WindowSet
from streaming.horizon import Horizon
from streaming.judging import judge_of_scored
from streaming.patience import Stopped, answered, patiently, waiting, waits_for
from streaming.state import LiveState
from streaming.status import Status

__all__ = ["ModelRefresher", "Serving"]

log = logging.getLogger("lockstep.stream")

_STOP_S = 5.0


@dataclass(frozen=True)
class Serving:
    """An approved model, open and warm, and what judges events for it."""

    approval: int
    version: int
    digest: str
    scorer: Scorer
    judge: Judge
    contract: Contract
    state: LiveState | None
    """What its windows see; None for a model without windows."""


class ModelRefresher:
    """Keeps `serving` equal to what is approved. None: nothing may be scored now."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        reader: Reader,
        status: Status,
        stop: threading.Event,
    ) -> None:
        self._settings, self._pipeline, self._status = settings, pipeline, status
        self._stop, self._wake = stop, threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-refresh", daemon=True)
        self._said: str | None = None
        self.serving: Serving | None = None
        self.horizon = Horizon(reader, pipeline)

    def open(self) -> None:
        """Open the approved model. Raises ModelRefused when it does not fit; waits for services."""
        patiently(self._refresh, "model", self._status, self._stop)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """End, once told to stop."""
        self._wake.set()
        # A daemon: what it may still wait for ends with the process.
        self._thread.join(_STOP_S)

    def wake(self) -> None:
        """Look now instead of at the next poll."""
        self._wake.set()

    def require_same_topics(self) -> None:
        """Raises OffsetsLost when a state topic that serves was recreated or has grown."""
        serving = self.serving
        if serving and serving.state:
            serving.state.require_same_topics()

    def _follow(self) -> None:
        while True:
            self._wake.wait(self._pipeline.stream.approval_poll_s)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                newest = self._newest()
            except Exception:  # noqa: S112 - a condition says why
                continue
            try:
                self._serve(newest)
            except Stopped:
                return
            except ModelRefused as error:
                self.serving, self._status.serving = None, {}
                self._status.fail("model", str(error))
            except Exception as error:
                self._say(error)
            else:
                self._said = None
                self._status.hold("model")

    def _say(self, error: Exception) -> None:
        """Why nothing newer serves; in the log only where it is news."""
        why = _why(error)
        news, self._said = why != self._said, why
        if waits_for(error):
            # Not a condition: what serves was approved and still serves.
            if news:
                log.warning("cannot open a newer approval: %s", why)
            return
        if news and not isinstance(error, LockstepError):
            log.error("opening a newer approval failed", exc_info=error)
        self._status.fail("model", why)

    def _refresh(self) -> None:
        # Only while nothing serves yet: later this thread must not speak for the worker's halves.
        self._serve(self._newest(), self._status.moved)

    def _serve(self, newest: Approval | None, heard: Heard = unheard) -> None:
        if self.serving and newest and newest.sequence == self.serving.approval:
            return
        use_case = self._pipeline.use_case
        with (
            closing(connect(self._settings, "scorer", use_case)) as connection,
            answered(connection),
        ):
            approval, model = approved_model(self._settings, use_case, connection, heard)
        scorer = open_scorer(model, self._settings.tree_kernel)
        if scorer.engine.distrusted:
            self._status.kernels_distrusted.inc()
        scorer.warm()
        # Before it takes over: its state may take long to fold, and the former one serves on.
        state = self._state_for(model.windows)
        self.serving = Serving(
            approval=approval.sequence,
            version=approval.model_version,
            digest=approval.digest,
            scorer=scorer,
            judge=judge_of_scored(self._pipeline.stream, model.contract, model.windows),
            contract=model.contract,
            state=state,
        )
        self._status.serving = {
            "approval": approval.sequence,
            "model_version": approval.model_version,
            "model_digest": approval.digest,
            "trees": str(scorer.engine),
        }
        serves = (approval.model_version, approval.digest, scorer.engine)
        log.info("serving version %s, digest %s, its trees in %s", *serves)

    def _newest(self) -> Approval | None:
        """The newest approval.

        Nobody else asks the warehouse anything while there is nothing to write: so this is also
        who notices that it has gone, and says so.
        """
        try:
            with (
                closing(connect(self._settings, "scorer", self._pipeline.use_case)) as connection,
                answered(connection),
            ):
                newest = current(connection)
        except Exception as error:
            self._status.fail("warehouse", _why(error))
            raise
        self._status.hold("warehouse")
        return newest

    def _state_for(self, windows: WindowSet) -> LiveState | None:
        """The state of these windows: the one that serves if they are the same, else a new one.

        Raises ModelRefused when a state topic cannot keep what a window promises.
        """
        if not windows:
            self._status.hold("windows")
            return None
        serving = self.serving
        if serving and serving.state and serving.state.windows.fingerprint == windows.fingerprint:
            return serving.state
        # Only the first state is a condition: while a later one folds, another serves.
        status = Status(self._pipeline.use_case) if serving else self._status
        state = None
        try:
            state = LiveState(self._settings.kafka, self._pipeline, windows, status, self._stop)
            state.open()
            if self.horizon.time is not None:
                state.serve_from(self.horizon.time)
        except Exception as error:
            if state is not None:
                state.close()
            if waits_for(error):  # Stopped, too
                raise
            if isinstance(error, LockstepError):
                why, left, following = error.message, error.left, error.next
            else:
                why, left, following = str(error), None, None
            raise ModelRefused(f"windows: {why}", left=left, next=following) from error
        state.report_to(self._status)
        return state


def _why(error: Exception) -> str:
    """What a condition says of an error, whatever it is."""
    if waits_for(error):
        return waiting(error)
    return str(error) if isinstance(error, LockstepError) else reason_of(error)

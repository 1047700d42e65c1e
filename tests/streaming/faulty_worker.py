"""A real worker that kills itself (SIGKILL), or freezes, at a named point of its protocol.

    FAULT=before-commit FAULT_AFTER=3 python -m tests.streaming.faulty_worker

FAULT_AFTER micro-batches pass unharmed first.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from lockstep.scoring import trusted
from lockstep.warehouse.ledger import Ledger
from streaming import app, horizon, intake, patience, status
from streaming.sending import Sender
from streaming.state import LiveState

FAULT, AFTER = os.environ["FAULT"], int(os.environ["FAULT_AFTER"])
passed = 0


def due() -> bool:
    global passed
    passed += 1
    return passed > AFTER


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """A cursor that dies inside the transaction, with its rows sent."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, query: Any, *more: Any) -> Any:
        result = self._cursor.execute(query, *more)
        if "insert into predictions_stream" in query:
            die()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def before_commit() -> None:
    write = Ledger.write

    def killed(self: Ledger, batch: Any, **more: Any) -> int:
        if due():
            self._cursor = Dying(self._cursor)  # type: ignore[assignment]
        return write(self, batch, **more)

    Ledger.write = killed  # type: ignore[method-assign]


def after_commit() -> None:
    answer = Sender.answer_new

    def killed(self: Sender, *work: Any) -> None:
        if due():
            die()
        answer(self, *work)

    Sender.answer_new = killed  # type: ignore[method-assign]


def mid_answers() -> None:
    produce = Sender._produce

    def killed(self: Sender, *columns: Any) -> None:
        if due():
            partitions, keys, payloads = (list(column) for column in columns)
            half = len(keys) // 2
            produce(self, partitions[:half], keys[:half], payloads[:half])
            self._producer.flush()
            die()
        produce(self, *columns)

    Sender._produce = killed  # type: ignore[method-assign]


def freeze() -> None:
    """Stops, as a paused virtual machine does, with a micro-batch in hand; once."""
    write = Ledger.write
    frozen = False

    def stopped(self: Ledger, batch: Any, **more: Any) -> int:
        nonlocal frozen
        if due() and not frozen:
            frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return write(self, batch, **more)

    Ledger.write = stopped  # type: ignore[method-assign]


def lagging_state() -> None:
    """Every second micro-batch the bounded wait runs out with nothing read."""
    catch_up = LiveState.catch_up

    def lagging(self: LiveState, cut: Any, wait_s: float) -> bool:
        if self.folded and due() and passed % 2:
            return False
        return catch_up(self, cut, wait_s)

    LiveState.catch_up = lagging  # type: ignore[method-assign]


def endless_fold() -> None:
    """The state topics are longer than anybody can wait."""
    catch_up = LiveState.catch_up

    def never(self: LiveState, cut: Any, wait_s: float) -> bool:
        if self.folded:
            return catch_up(self, cut, wait_s)
        time.sleep(0.05)
        return False

    LiveState.catch_up = never  # type: ignore[method-assign]


def stuck() -> None:
    """Scoring does not come back: somebody holds a lock for good."""
    status.STUCK_AFTER_S = 3.0
    score = intake.score_survivors

    def never(*given: Any) -> Any:
        if due():
            threading.Event().wait()
        return score(*given)

    intake.score_survivors = never


def impatient() -> None:
    """The usual way: the first error, one that Kafka's client only tells of too, is the last."""
    patience.waits_for = lambda _: False

    told: list[KafkaError] = []
    require = intake.Intake._require_nothing_failed

    def require_nothing_told(self: intake.Intake) -> None:
        if told:
            raise KafkaException(told[0])
        require(self)

    intake.Intake._broker_trouble = lambda _, error: told.append(error)  # type: ignore[method-assign]
    intake.Intake._require_nothing_failed = require_nothing_told  # type: ignore[method-assign]


def forgetful() -> None:
    """Forgets after every micro-batch what it may forget: usually one of many does."""
    horizon._EVERY = 1


def wrong_kernel() -> None:
    """The compiled kernel gets the last bit of a batch's last sum wrong."""
    importlib.import_module("tests.wrong_kernel")


def trusted_kernel() -> None:
    """The same, and nobody compares it with ONNX Runtime when the model is opened."""
    wrong_kernel()
    trusted.what_differs = lambda *_: None  # type: ignore[assignment]


def no_cut() -> None:
    """The usual way: fold what happens to be there, ask for nothing."""

    def hurried(self: LiveState, cut: Any, wait_s: float) -> bool:
        self._fold(self._consumer.consume(1, 0))
        return True

    LiveState.catch_up = hurried  # type: ignore[method-assign]


FAULTS = {
    "lagging-state": lagging_state,
    "endless-fold": endless_fold,
    "impatient": impatient,
    "stuck": stuck,
    "no-cut": no_cut,
    "wrong-kernel": wrong_kernel,
    "trusted-kernel": trusted_kernel,
    "forgetful": forgetful,
    "before-commit": before_commit,
    "after-commit": after_commit,
    "mid-answers": mid_answers,
    "freeze": freeze,
}

if __name__ == "__main__":
    FAULTS[FAULT]()
    sys.exit(app.main())

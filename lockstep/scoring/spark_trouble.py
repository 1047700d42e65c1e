"""Spark's errors: what helps against each, and what Spark said last. The only place that says so.

Spark wraps an error once for each layer that it passes, so the first line tells of a task that
failed, and the last `Caused by` tells why. PASSING is what the machinery around the data brings:
connections, executors and workers that died, full disks, time-outs. Everything else (a file, a
type, a class, a setting, code) would end the same way again.
"""

from __future__ import annotations

import errno
import re

from lockstep.trouble import Trouble

__all__ = ["spark_account", "spark_said", "spark_trouble"]

_LONGEST = 400
_PASSING = re.compile(
    r"\b("
    # Java's
    r"ConnectException|SocketException|SocketTimeoutException|UnknownHostException"
    r"|NoRouteToHostException|ClosedChannelException|InterruptedIOException|TimeoutException"
    # Spark's own
    r"|Py4JNetworkError|RpcTimeoutException|FetchFailedException|MetadataFetchFailedException|ExecutorLostFailure"
    r"|SparkContext was shut down|Python worker exited unexpectedly"
    r"|Python worker failed to connect back|StatusCode\.UNAVAILABLE|StatusCode\.DEADLINE_EXCEEDED"
    # Python's, in a worker
    r"|ConnectionError|ConnectionResetError|ConnectionRefusedError|ConnectionAbortedError"
    r"|BrokenPipeError|TimeoutError"
    # stores' and disks'
    r"|SlowDown|ServiceUnavailable|ThrottlingException|No space left on device"
    r")\b"
)
_PASSING_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EINTR}
_HEAD = re.compile(r"(?:: |Caused by: )?((?:[\w$]+\.)+[\w$]+(?:Exception|Error|Failure)\b.*)")
"""A line that begins an error in Java's account of it; what follows are its frames."""


def spark_trouble(error: Exception) -> Trouble:
    """PASSING or FINAL, for what pyspark, py4j or their sockets raise."""
    from py4j.protocol import Py4JNetworkError  # type: ignore[import-untyped]

    if isinstance(error, Py4JNetworkError | ConnectionError | TimeoutError):
        return Trouble.PASSING  # the Java beside us has gone
    if isinstance(error, OSError):
        return Trouble.PASSING if error.errno in _PASSING_ERRNO else Trouble.FINAL
    said = "\n".join(_accounts(spark_account(error)))
    return Trouble.PASSING if _PASSING.search(said) else Trouble.FINAL


def spark_account(error: Exception) -> str:
    """All that the error says. py4j asks Java for it, which may have gone meanwhile."""
    try:
        return str(error)
    except Exception as lost:
        return f"py4j.protocol.Py4JNetworkError: Java cannot be asked what failed ({lost})"


def spark_said(error: Exception) -> str:
    """The outermost and the innermost cause, each in a line; bounded."""
    lines = _accounts(spark_account(error))
    if not lines:
        return type(error).__name__
    first, last = lines[0][:_LONGEST], lines[-1][:_LONGEST]
    return first if first == last else f"{first}; because of {last}"


def _accounts(text: str) -> list[str]:
    """The lines that say something, from the outermost cause to the innermost."""
    lines = [line.strip() for line in text.splitlines()]
    heads = [match[1] for line in lines if (match := _HEAD.match(line))]
    # The end of a Python worker's own account, where there is one, is the innermost of all.
    begins = [number for number, line in enumerate(lines) if line.startswith("Traceback (most")]
    if begins:
        heads += [
            line
            for line in lines[begins[-1] + 1 :]
            if re.match(r"[\w.]+(Error|Exception|Failed)\b", line) and not line.startswith("org.")
        ][:1]
    return heads or [line for line in lines if line][:1]

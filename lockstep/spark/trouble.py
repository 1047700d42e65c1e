"""Spark's errors: what helps against each, and what Spark said last. The only place that says so.

Spark wraps an error once for each layer that it passes, so the first line tells of a task that
failed, and the last `Caused by` tells why. That innermost cause is judged, since the layers around
it are the same for a damaged file and for a connection that broke. FINAL is what is known to stay
(a file, a type, a class, a setting, code). Whatever else it is may pass: connections, executors,
stores and disks fail in more words than anybody can list, and trying again ends by itself.
"""

from __future__ import annotations

import re

from lockstep.trouble import Trouble

__all__ = ["spark_account", "spark_said", "spark_trouble"]

_LONGEST = 400
_STAYS = re.compile(
    # The class that the cause begins with, perhaps behind the task that it ended.
    r"(?:.* executor \S+\): )?(?:[\w$]+\.)*[\w$]*(?:"
    # a query, a setting, an argument
    r"AnalysisException|ParseException|IllegalArgumentException|UnsupportedOperationException"
    r"|SparkRuntimeException|SchemaColumnConvertNotSupportedException|BadConfigurationException"
    # a value
    r"|NumberFormatException|ArithmeticException|DateTimeException|IndexOutOfBoundsException"
    # what is installed
    r"|ClassNotFoundException|NoClassDefFoundError|ClassCastException|NoSuchMethodError"
    r"|NoSuchMethodException|NoSuchFieldError|LinkageError|UnsupportedClassVersionError"
    r"|NotSerializableException|InvalidClassException"
    # a file, and the right to read it
    r"|FileNotFoundException|NoSuchFileException|FileAlreadyExistsException|InvalidInputException"
    r"|AccessControlException|AccessDeniedException|ChecksumException|TProtocolException"
    r"|ParquetDecodingException|ParquetCryptoRuntimeException|InvalidRecordException"
    r"|ZstdIOException|ZipException|DataFormatException"
    # Python's, in a worker
    r"|ValueError|TypeError|KeyError|IndexError|AttributeError|NameError|UnboundLocalError"
    r"|ImportError|ModuleNotFoundError|AssertionError|NotImplementedError|ZeroDivisionError"
    r"|OverflowError|RecursionError|SyntaxError|Unicode\w+Error|ArrowInvalid"
    r"|FileNotFoundError|FileExistsError|PermissionError|NotADirectoryError|IsADirectoryError"
    r")(?:$|[:\s])"
    # Damaged files that Java has no class of its own for.
    r"|.*(?:is not a Parquet file|footer is too large|corrupted file|Read past End of File"
    r"|can not read class org\.apache\.parquet|FAILED_TO_UNCOMPRESS)"
)
_LOST = re.compile(r"\b(FetchFailed|ExecutorLostFailure)")
"""Results went away with their executor; whatever is said to be missing then can be made again."""
_HEAD = re.compile(r"(?:: |Caused by: )?((?:[\w$]+\.)+[\w$]+(?:Exception|Error|Failure)\b.*)")
"""A line that begins an error in Java's account of it; what follows are its frames."""
_OF_FILES = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    NotADirectoryError,
    IsADirectoryError,
)


def spark_trouble(error: Exception) -> Trouble:
    """FINAL or PASSING, for what pyspark, py4j or their sockets raise."""
    if isinstance(error, OSError):
        return Trouble.FINAL if isinstance(error, _OF_FILES) else Trouble.PASSING
    said = _accounts(error)
    if any(_LOST.search(line) for line in said):
        return Trouble.PASSING
    return Trouble.FINAL if _STAYS.match(said[-1]) else Trouble.PASSING


def spark_account(error: Exception) -> str:
    """All that the error says. py4j asks Java for it, which may have gone meanwhile."""
    try:
        return str(error)
    except Exception as lost:
        return f"py4j.protocol.Py4JNetworkError: Java cannot be asked what failed ({lost})"


def spark_said(error: Exception) -> str:
    """The outermost and the innermost cause, each in a line; bounded."""
    lines = _accounts(error)
    first, last = lines[0][:_LONGEST], lines[-1][:_LONGEST]
    return first if first == last else f"{first}; because of {last}"


def _accounts(error: Exception) -> list[str]:
    """The lines that say something, from the outermost cause to the innermost; at least one."""
    lines = spark_account(error).splitlines()
    heads = [match[1] for line in lines if (match := _HEAD.match(line.strip()))]
    # The end of a Python worker's own account, where there is one, is the innermost of all.
    begins = [number for number, line in enumerate(lines) if "Traceback (most recent" in line]
    if begins:
        heads += [
            line for line in lines[begins[-1] + 1 :] if re.match(r"(?!org\.)[\w.]+(:|$)", line)
        ][:1]
    if heads:
        return heads
    # pyspark's own errors have their class, and of Java's account the message only.
    said = next((line.strip() for line in lines if line.strip()), "")
    return [f"{type(error).__name__}: {said}"]

"""Which of Spark's failures may pass and which stay, by the words that Spark said of them."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.errors import AnalysisException, IllegalArgumentException, PySparkException

from lockstep.spark.trouble import spark_said, spark_trouble
from lockstep.trouble import Trouble

_READING = (
    "An error occurred while calling o47.collectToPython.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0"
    " failed 4 times, most recent failure: Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 executor"
    " 1): org.apache.spark.SparkException: [FAILED_READ_FILE.NO_HINT] Encountered error while"
    " reading file s3a://lake/orders/date=2013-10-01/batch=a/part-00000.parquet. SQLSTATE: KD001\n"
    "\tat org.apache.spark.sql.errors.QueryExecutionErrors$.cannotReadFilesError(X.scala:856)\n"
    "Caused by: {}\n"
    "\tat java.base/java.lang.Thread.run(Thread.java:840)\n"
)
_WORKER = (
    "An error occurred while calling o47.collectToPython.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0"
    " failed 1 times, most recent failure: Lost task 0.0 in stage 0.0 (TID 0) (localhost executor"
    " driver): org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
    '  File "/spark/worker.py", line 7, in task\n'
    "    raise\n"
    "{}\n\n"
    "\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(X.scala:581)\n"
    "Driver stacktrace:\n"
    "\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:2935)\n"
)
_PASSES = [
    "java.io.IOException: Connection reset by peer",
    "java.io.IOException: Broken pipe",
    "java.io.IOException: Failed to connect to /10.0.0.7:7337",
    "java.io.IOException: Connection from /10.0.0.7:7337 closed",
    "java.io.IOException: No space left on device",
    "java.net.SocketTimeoutException: Read timed out",
    "java.net.UnknownHostException: store.example",
    "java.io.EOFException",
    "software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request:"
    " Connection reset",
    "org.apache.hadoop.fs.s3a.AWSStatus500Exception: getFileStatus on s3a://lake: status 500",
    "org.apache.hadoop.ipc.RemoteException(org.apache.hadoop.hdfs.server.namenode.SafeModeException)"
    ": Name node is in safe mode",
    "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)",
    "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext",
    "a.store.that.nobody.KnowsException: not now",
]
_STAYS = [
    "java.lang.ClassNotFoundException: org.apache.hadoop.io.compress.BrotliCodec",
    "java.io.FileNotFoundException: No such file or directory: s3a://lake/orders",
    "java.nio.file.AccessDeniedException: s3a://lake: status 403",
    "org.apache.spark.SparkRuntimeException: Found duplicate field(s)",
    "org.apache.spark.SparkNumberFormatException: [CAST_INVALID_INPUT] the value",
    "java.lang.ArrayIndexOutOfBoundsException: 252",
    "org.apache.hadoop.fs.ChecksumException: Checksum error: file:/lake at 0",
    "java.lang.RuntimeException: file:/lake is not a Parquet file. Expected magic number",
    "shaded.parquet.org.apache.thrift.protocol.TProtocolException: Required field 'codec'",
    "java.io.IOException: can not read class org.apache.parquet.format.PageHeader: null",
]
_WORKER_PASSES = [
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "OSError: [Errno 28] No space left on device",
    "MemoryError",
    "TimeoutError: timed out",
]
_WORKER_STAYS = [
    "ValueError: the reason",
    "KeyError: 'x'",
    "AssertionError",
    "ModuleNotFoundError: No module named 'lockstep'",
    "pyarrow.lib.ArrowInvalid: Column 'x' declared non-nullable contains nulls",
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff",
    "FileNotFoundError: [Errno 2] No such file or directory: 'x.txt'",
]


@pytest.mark.parametrize(
    "text",
    [*map(_READING.format, _PASSES), *map(_WORKER.format, _WORKER_PASSES)],
    ids=[*_PASSES, *_WORKER_PASSES],
)
def test_what_may_pass_is_tried_again(text: str) -> None:
    assert spark_trouble(Py4JError(text)) is Trouble.PASSING


@pytest.mark.parametrize(
    "text",
    [*map(_READING.format, _STAYS), *map(_WORKER.format, _WORKER_STAYS)],
    ids=[*_STAYS, *_WORKER_STAYS],
)
def test_what_is_known_to_stay_is_final(text: str) -> None:
    assert spark_trouble(Py4JError(text)) is Trouble.FINAL


@pytest.mark.parametrize("said", [*_PASSES, *_STAYS])
def test_the_innermost_cause_is_said(said: str) -> None:
    assert spark_said(Py4JError(_READING.format(said))).endswith(f"because of {said}")


def test_a_task_that_tells_of_its_cause_in_one_line_is_judged_by_it() -> None:
    lost = (
        ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 9.0"
        " failed 1 times, most recent failure: Lost task 0.0 in stage 9.0 (TID 9) (localhost"
        " executor driver): {}: x"
    )
    stays, passes = "java.lang.UnsupportedOperationException", "java.io.IOException"
    assert spark_trouble(Py4JError(lost.format(stays))) is Trouble.FINAL
    assert spark_trouble(Py4JError(lost.format(passes))) is Trouble.PASSING


def test_a_file_that_went_with_its_executor_may_come_again() -> None:
    """Shuffle files are Spark's own; without the executor's end the same words are final."""
    cause = "java.nio.file.NoSuchFileException: /tmp/blockmgr-1/0c/shuffle_0_0_0.data"
    assert spark_trouble(Py4JError(_READING.format(cause))) is Trouble.FINAL
    lost = f"org.apache.spark.shuffle.FetchFailedException\nCaused by: {cause}"
    assert spark_trouble(Py4JError(_READING.format(lost))) is Trouble.PASSING


def test_errors_of_pyspark_itself_are_judged_by_their_class() -> None:
    assert spark_trouble(AnalysisException("[PATH_NOT_FOUND] no path")) is Trouble.FINAL
    assert spark_trouble(IllegalArgumentException("a setting")) is Trouble.FINAL
    assert spark_trouble(PySparkException("StatusCode.UNAVAILABLE")) is Trouble.PASSING
    assert spark_trouble(Py4JNetworkError("no answer")) is Trouble.PASSING


def test_errors_of_this_machine_are_judged_by_their_class() -> None:
    assert spark_trouble(FileNotFoundError(2, "x")) is Trouble.FINAL
    assert spark_trouble(PermissionError(13, "x")) is Trouble.FINAL
    assert spark_trouble(OSError(28, "No space left on device")) is Trouble.PASSING
    assert spark_trouble(OSError(5, "Input/output error")) is Trouble.PASSING
    assert spark_trouble(ConnectionResetError(104, "x")) is Trouble.PASSING

"""A query's failure in one line, from traces as Spark writes them."""

import pytest

from sightline_contract.errors import BrokerError, SightlineError, StageError, StorageError
from sightline_streaming.failures import deepest_cause, explain_failure

PYTHON = """org.apache.spark.sql.streaming.StreamingQueryException: [STREAM_FAILED] Query [id = 1] terminated
\tat org.apache.spark.sql.execution.streaming.StreamExecution.run(StreamExecution.scala:372)
Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "worker.py", line 1, in main
sightline_contract.errors.StateError: state version 9 is not spoken here

\tat org.apache.spark.api.python.BasePythonRunner.handle(PythonRunner.scala:581)
\t... 1 more
"""


def java(message: str) -> str:
    head = "StreamingQueryException: [STREAM_FAILED] Query\n\tat a.b(C.scala:1)\n"
    return f"{head}Caused by: {message}\n\tat d.e(F.java:2)\n\t... 9 more"


@pytest.mark.parametrize(
    ("message", "kind", "advice"),
    [
        ("java.io.IOException: No space left on device", StorageError, "free space"),
        ("org.apache.kafka.common.errors.TimeoutException: Timed out", BrokerError, "see whether Kafka runs"),
        ("SparkException: [CONCURRENT_STREAM_LOG_UPDATE] Concurrent update to the log.", StorageError, "another driver"),
        ("java.lang.IllegalStateException: some data may have been missed", BrokerError, "kafka.fail_on_data_loss"),
        ("java.lang.NullPointerException", StageError, "continues from its checkpoint"),
    ],
)
def test_a_cause_becomes_the_error_that_fits_it(message: str, kind: type[SightlineError], advice: str) -> None:
    error = explain_failure("tracking", java(message))
    assert type(error) is kind
    assert str(error).startswith(f"tracking: {message.split(': ', maxsplit=1)[0]}")
    assert advice in str(error)
    assert "\n" not in str(error)


def test_of_a_python_worker_the_last_line_counts() -> None:
    assert deepest_cause(PYTHON) == "sightline_contract.errors.StateError: state version 9 is not spoken here"


def test_a_long_cause_is_cut() -> None:
    assert len(str(explain_failure("facts", java("x" * 5000)))) < 500

"""A query's failure in one line, from traces as Spark writes them."""

import pytest

from sightline_contract.errors import BrokerError, SightlineError, StageError, StateError, StorageError
from sightline_streaming.failures import explain_failure, root_cause

AROUND = (
    "[STREAM_FAILED] Query [id = 1-2, runId = 3-4] terminated with exception: Job aborted due to stage failure: Task 1 in "
    "stage 7.0 failed 1 times, most recent failure: Lost task 1.0 in stage 7.0 (TID 11) (localhost executor driver): "
)
REST = "\tat a.b(C.java:1)\n\nDriver stacktrace: SQLSTATE: XXKST\n=== Streaming Query ===\nIdentifier: tracking\nKafkaTable"
PYTHON = """org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "worker.py", line 1, in main
sightline_contract.errors.StateError: state version 9 is not spoken here
 SQLSTATE: 38000
"""


def spark_error(message: str) -> RuntimeError:
    return RuntimeError(f"{AROUND}{message}\n{REST}")


@pytest.mark.parametrize(
    ("message", "kind", "advice"),
    [
        ("java.io.IOException: No space left on device", StorageError, "free space"),
        ("org.apache.kafka.common.errors.TimeoutException: Timed out", BrokerError, "see whether Kafka runs"),
        ("SparkException: [CONCURRENT_STREAM_LOG_UPDATE] Concurrent update to the log.", StorageError, "another driver"),
        ("java.lang.IllegalStateException: some data may have been missed", BrokerError, "kafka.fail_on_data_loss"),
        ("SparkException: [CANNOT_LOAD_STATE_STORE.UNCATEGORIZED] An error occurred.", StateError, "new checkpoint_root"),
        ("java.lang.NullPointerException", StageError, "continues from its checkpoint"),
    ],
)
def test_a_cause_becomes_the_error_that_fits_it(message: str, kind: type[SightlineError], advice: str) -> None:
    error = explain_failure("tracking", spark_error(message))
    assert type(error) is kind
    assert str(error).startswith(f"tracking: {message.split(': ', maxsplit=1)[0]}")
    assert advice in str(error)
    assert "\n" not in str(error)


def test_of_a_python_worker_the_last_line_counts() -> None:
    assert root_cause(str(spark_error(PYTHON))) == "sightline_contract.errors.StateError: state version 9 is not spoken here"


def test_a_long_cause_is_cut() -> None:
    assert len(str(explain_failure("facts", spark_error("x" * 5000)))) < 500

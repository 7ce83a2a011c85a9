import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from sightline_edge.config import LogConfig, LogFormat, LogLevel
from sightline_edge.health.logs import configure
from sightline_edge.health.masking import register_secret

SECRET = 'tell-no0ne "about" it'


@pytest.fixture
def lines_of() -> Iterator[Callable[..., list[str]]]:
    """Configures, runs a piece of code and gives what was logged; the logging of the tests themselves is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []

    def run(work: Callable[[logging.Logger], None], **config: object) -> list[str]:
        stream = io.StringIO()
        configure(LogConfig.model_validate(config), "gate-north", stream)
        work(logging.getLogger("sightline_edge.capture"))
        return stream.getvalue().splitlines()

    yield run
    root.handlers, root.level = handlers, level


def test_a_json_line_says_when_how_grave_who_and_what(lines_of: Callable[..., list[str]]) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    (line,) = lines_of(
        lambda logger: logger.warning("%d frames lost", 3, extra={"camera_id": "gate", "lost": [1, 2]}), format="json"
    )
    fields = json.loads(line)
    at = fields.pop("time")
    assert at.endswith("Z")
    assert before <= datetime.fromisoformat(at)
    assert fields == {
        "level": "warning", "logger": "sightline_edge.capture", "node_id": "gate-north", "message": "3 frames lost",
        "camera_id": "gate", "lost": [1, 2],
    }  # fmt: skip


def test_a_text_line_is_level_and_message(lines_of: Callable[..., list[str]]) -> None:
    assert lines_of(lambda logger: logger.info("ready"), format="text") == ["INFO ready"]


def test_less_than_the_level_is_not_logged_and_configuring_again_replaces(lines_of: Callable[..., list[str]]) -> None:
    def work(logger: logging.Logger) -> None:
        logger.info("no")
        logger.error("yes")

    assert lines_of(work, level=LogLevel.ERROR) == ["ERROR yes"]
    assert lines_of(work, level=LogLevel.INFO) == ["INFO no", "ERROR yes"]


def failing(logger: logging.Logger) -> None:
    try:
        try:
            raise ConnectionRefusedError(111, "refused", f"rtsp://viewer:{SECRET}@10.0.0.17/1")
        except OSError as error:
            raise ValueError(f"the camera's password is {SECRET}") from error
    except ValueError:
        logger.exception("camera %s", f"http://viewer:{SECRET}@h/", stack_info=True)


def telling(logger: logging.Logger) -> None:
    class Options:
        def __repr__(self) -> str:
            return f"Options({SECRET!r})"

    logger.error("options %r", {"sasl.password": SECRET})
    logger.error("%s", {"a": SECRET}, extra={"options": Options(), "nested": {"deep": [SECRET]}, SECRET: 1})
    logger.error({"message": SECRET, "ssl.key.password": SECRET})


@pytest.mark.parametrize("format_", LogFormat)
@pytest.mark.parametrize("work", [failing, telling])
def test_no_secret_is_in_a_message_an_extra_or_a_traceback(
    work: Callable[[logging.Logger], None], format_: LogFormat, lines_of: Callable[..., list[str]]
) -> None:
    register_secret(SECRET)
    lines = lines_of(work, format=format_)
    text = "\n".join([*lines, *(str(json.loads(line)) for line in lines if format_ is LogFormat.JSON)])
    assert "no0ne" not in text
    assert "***" in text
    assert len(lines) == 1 if work is failing and format_ is LogFormat.JSON else len(lines) >= 3


def test_a_secret_of_digits_leaves_a_json_line_whole(lines_of: Callable[..., list[str]]) -> None:
    register_secret("7302518")
    (line,) = lines_of(lambda logger: logger.info("pin 7302518", extra={"pin": 7302518, "frames": 12}), format="json")
    assert {"message": "pin ***", "pin": "***", "frames": 12}.items() <= json.loads(line).items()

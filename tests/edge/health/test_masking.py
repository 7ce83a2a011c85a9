import re
import string
import subprocess
import sys
import threading
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sightline_edge.health import masking
from sightline_edge.health.masking import mask, mask_mapping, mask_password, register_address, register_secret

SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https", "sasl_ssl", "RTSP"])
USERS = st.sampled_from(["", "viewer", "me@corp.example", "a%40b", "dom%5Cuser"])
# Letters that stand nowhere else, so that not even a piece of it may be left.
LETTERS = "QXZ"
PASSWORDS = st.text(LETTERS + string.digits + "@:/%&=+!$'\"()*,;~._-#?\\|<>[]{}^`", min_size=4, max_size=24).map("Q{}Z".format)
REST = st.sampled_from(["", ":554", ":554/", "/Streaming/Channels/101", "/cam?channel=1&subtype=0", "/a#b", "?x=1"])
# How an address gets into a line.
LINES = st.sampled_from(
    [
        "{}",
        "opening {} failed",
        "'{}'",
        '{{"url": "{}"}}',
        "[Errno 111] Connection refused: '{}'",
        "<a href={}>",
        "({})",
        "{},http://10.0.0.1/x",
        "tcp://10.0.0.1:5 {}\nnext line",
    ]
)


def assert_nothing_is_left(text: str) -> None:
    assert not set(LETTERS) & set(text), text


@given(SCHEMES, USERS, PASSWORDS, REST, LINES)
def test_no_piece_of_an_addresss_password_survives(scheme: str, user: str, password: str, rest: str, line: str) -> None:
    for written in (password, quote(password, safe=""), quote(password)):
        address = f"{scheme}://{user}:{written}@10.0.0.17{rest}"
        assert_nothing_is_left(mask(line.format(address)))
        assert_nothing_is_left(mask_password(address))
        assert_nothing_is_left(mask(line.format(address.replace("/", "\\/"))))
        assert_nothing_is_left(mask(f"http://proxy/?url={quote(address, safe='')}&then=1"))


@given(
    SCHEMES, USERS, PASSWORDS, PASSWORDS.map(lambda text: text.replace("&", "")), st.sampled_from(["token", "password", "auth"])
)
@example("rtsp", "", "Q0?Z", "Q0@Z", "token")
def test_no_piece_of_a_token_in_an_address_survives(scheme: str, user: str, password: str, token: str, name: str) -> None:
    for address in (
        f"{scheme}://10.0.0.17/1?a=b&{name}={token}&c=d",
        f"{scheme}://10.0.0.17:554/1?{name}={token}",
        f"{scheme}://{user}:{password}@10.0.0.17/1?{name}={token}",
        f"{scheme}://{user}:{password}@10.0.0.17/1?{name}={token}&c=d",
    ):
        assert_nothing_is_left(mask(f"opening {address} failed"))
        assert_nothing_is_left(mask_password(address))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(masking, "_register", masking._Register())
            register_address(address)  # what is then known by its value must not cut what is known by its form
            register_secret(token)
            assert_nothing_is_left(mask(f"opening {address} failed"))
            assert_nothing_is_left(mask_password(address))


@given(
    PASSWORDS,
    st.sampled_from(["token", "access_token", "password", "pwd", "api_key", "auth", "sig", "sasl.password", "client_secret"]),
)
def test_no_value_of_a_secret_name_survives(password: str, name: str) -> None:
    query = quote_plus(password)
    assert query not in mask(f"http://h/stream?a=1&{name}={query}&b=2")
    assert password not in mask(str({name: password, "camera_id": "gate"}))
    assert query not in mask(f"configuration {name}: {query}, next")


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=4, max_size=30).filter(
        lambda t: len(t.strip("* ")) > 3
    ),
    st.text(max_size=20),
)
def test_no_registered_secret_survives_wherever_and_however_it_is_written(secret: str, around: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_register", masking._Register())  # an example's secret is no other's
        register_secret(secret, "viewer")
        quoted = quote(secret, safe="")
        for written in (secret, repr(secret)[1:-1], quoted, quote_plus(secret), re.sub("%..", lambda c: c[0].lower(), quoted)):
            assert written not in mask(f"{around}<{written}>{around}").replace(around, "")


def test_a_secret_with_a_space_and_basic_authentication_are_hidden_once_its_address_is_known() -> None:
    address = "rtsp://viewer:two words p@ss@10.0.0.17/1"
    register_address(address)
    assert mask_password(address) == "rtsp://viewer:***@10.0.0.17/1"
    assert "words" not in mask(f"cannot open {address}: refused")
    assert "dmlld2VyOnR3byB3b3JkcyBwQHNz" not in mask("sent dmlld2VyOnR3byB3b3JkcyBwQHNz to the camera")


@pytest.mark.parametrize(
    "line",
    [
        'Authorization: Digest username="viewer", response="0123456789abcdef"',
        "{'Authorization': 'Basic dmlld2VyOjAxMjM0NTY3ODlhYmNkZWY='} 0123456789abcdef",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n0123456789abcdef\n-----END ENCRYPTED PRIVATE KEY-----",
        "ssl.key.pem=0123456789abcdef",
    ],
)
def test_headers_and_keys_are_hidden(line: str) -> None:
    assert "0123456789abcdef" not in mask(line)


@pytest.mark.parametrize(
    "line",
    [
        "rtsp://10.0.0.17:554/1?mail=a@b: does not answer (no answer): check address, user and password",
        "Kafka at 127.0.0.1:9092: does not answer: start it or correct its address",
        "camera gate: frames are 64x48 and its camera file says 32x32: correct frame_size",
        "rtsp://viewer@10.0.0.17/1",
        "2026-01-31T08:00:00Z node gate-north: 12 messages wait in the spool",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(line: str) -> None:
    assert mask(line) == line


def test_a_secret_that_is_part_of_a_name_does_not_free_what_stands_under_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_register", masking._Register())
        for secret in ("secret", "pass", "://v", "two words"):
            register_secret(secret)
        assert "Q1" not in mask("client_secret=Q1&password=Q1 rtsp://viewer:Q1@h/ authorization: Basic Q1")
        assert "words" not in mask("password=two words")


def test_a_short_value_does_not_hide_ordinary_words() -> None:
    register_secret("554")
    assert mask("port 554") == "port 554"


def test_parts_of_a_record_are_masked_and_figures_stay_figures() -> None:
    register_secret("918273645")
    masked = mask_mapping(
        {"camera_id": "gate", "frames": 17, "pin": 918273645, "sasl.password": "x y", "all": ["918273645", 2.5]}
    )
    assert masked == {"camera_id": "gate", "frames": 17, "pin": "***", "sasl.password": "***", "all": ["***", 2.5]}


def test_many_threads_may_register_and_mask_at_once() -> None:
    def work(number: int) -> None:
        secret = f"secret-of-thread-{number}-"
        for turn in range(50):
            register_secret(f"{secret}{turn}x")
            if f"{secret}{turn}x" in mask(f"<{secret}{turn}x>"):
                failed.append(secret)

    failed: list[str] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_traceback_that_ends_a_process_or_a_thread_is_masked(where: str) -> None:
    body = """
import sys, threading
from sightline_edge.health.masking import mask_tracebacks, register_secret
mask_tracebacks()
word = "".join(reversed("t3rces-elohw"))
register_secret(word)
def fail():
    try:
        raise OSError("refused", "rtsp://u:" + word + "@h/1")
    except OSError as error:
        raise ValueError("it was " + word) from error
threading.Thread(target=fail).start() if sys.argv[1] == "thread" else fail()
"""
    ended = subprocess.run([sys.executable, "-c", body, where], capture_output=True, text=True, timeout=60, check=False)
    assert "ValueError: it was ***" in ended.stderr
    assert "whole-s3cret" not in ended.stderr + ended.stdout

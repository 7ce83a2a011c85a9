"""Secrets that must not be read by people: known by their form, or by their value once they were registered.

By form, wherever they stand in a text: the password of an address (``scheme://user:password@host``), values named password,
token, secret and the like, ``Authorization`` headers, private keys in PEM. Form alone cannot know a password that stands by
itself, as it does in a library's message; so whoever reads a secret registers it, and from then on ``mask`` replaces its
value, also as Python, JSON, URLs and Basic authentication write it. A doubt is decided for the stars: too much may be hidden.

The register is the process's, since logs and tracebacks are. It holds what the settings hold anyway and is never written.
"""

import base64
import json
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, unquote

STARS = "***"
# A shorter value is part of ordinary words and figures; it is masked by its form only.
MIN_SECRET_LENGTH = 4

_NAMES = (
    r"(?:[\w.\-]*(?:passw(?:or)?d|pwd|passphrase|secret|token|api_?key|credential|ssl\.key\.pem)[\w.\-]*"
    r"|pass|auth|sig|signature)"
)
# User info ends at the last @. Digits and a slash after the colon are a port, whose path may have a query with an @.
_USER_INFO = re.compile(r"(?:\\?/){2}[^:/?#\s]*:(?!\d{1,5}/[^@\s]*\?)(?P<secret>\S*)@(?P<rest>[^&\s]*)")
# That @ may itself stand in a query's secret, whose end is then no host.
_QUERY_SECRET = re.compile(rf"[?&]{_NAMES}=", re.IGNORECASE)
_ENDS_IN_A_SECRET = re.compile(rf"{_QUERY_SECRET.pattern}[^&\s]*\Z", re.IGNORECASE)
_FORMS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\bauthorization[\"']?\s*[:=]\s*(?P<secret>[^\r\n]+)", re.IGNORECASE),
    # An address in the query of another.
    re.compile(r"%3A%2F%2F(?:(?!%3A|%2F|%3F)\S)*%3A(?P<secret>\S*)%40", re.IGNORECASE),
    re.compile(
        rf"\b{_NAMES}[\"']?(?:=|%3D|\s*:\s*|\s+=\s+)"
        r"(?P<secret>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^&\s]+)",
        re.IGNORECASE,
    ),
)
# An address by itself: as RFC 3986 reads it and FFmpeg does, or with a password in which a slash, ? or # was left unencoded.
_ADDRESSES = tuple(
    re.compile(rf"[a-z][a-z0-9+.\-]*://(?P<user>[^:/?#]*):(?P<password>{characters}*)@", re.IGNORECASE | re.DOTALL)
    for characters in ("[^/?#]", ".")
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)


class _Register:
    """Values to hide, the longest first: a secret that contains another is replaced as a whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, forms: set[str]) -> None:
        with self._lock:
            self._forms |= forms
            ordered = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def spans(self, text: str) -> list[tuple[int, int]]:
        pattern = self._pattern
        return [match.span() for match in pattern.finditer(text)] if pattern else []


_register = _Register()


def register_secret(value: str, user: str = "") -> None:
    """Have ``mask`` hide this value from now on; ``user`` is who it belongs to, for what Basic authentication makes of both.

    One shorter than MIN_SECRET_LENGTH is left to its form.
    """
    forms = {form for text in (value, unquote(value)) for form in _written(text, unquote(user))}
    # A multi-line secret is printed line by line.
    forms |= {line for line in value.splitlines() if not line.startswith("-----")}
    _register.add({form for form in forms if len(form) >= MIN_SECRET_LENGTH})


def register_address(address: str) -> None:
    """Register the password that stands in an address, if any does."""
    if match := _user_info(address):
        register_secret(match["password"], match["user"])


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name, such as ``sasl.password``, holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


def mask(text: str) -> str:
    """``text`` as it may be shown."""
    return _with_stars(text, _secrets_in(text))


def mask_password(source: str) -> str:
    """The source of a camera as it may be shown. It is one address, so that a space is no end of its password."""
    match = _user_info(source)
    return _with_stars(source, _secrets_in(source) + ([match.span("password")] if match else []))


def _secrets_in(text: str) -> list[tuple[int, int]]:
    """Where secrets stand. All are sought in the text as it came: one that is hidden must not keep another from being found."""
    spans = _register.spans(text)
    for match in _USER_INFO.finditer(text):
        ends_in_a_secret = _ENDS_IN_A_SECRET.search(match["secret"])
        spans.append((match.start("secret"), match.end("rest" if ends_in_a_secret else "secret")))
    return spans + [match.span("secret") for form in _FORMS for match in form.finditer(text)]


def _with_stars(text: str, spans: list[tuple[int, int]]) -> str:
    """``text`` with its spans replaced, those that touch as one."""
    shown: list[str] = []
    shown_to = -1
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if start > shown_to:
            shown += [text[max(shown_to, 0) : start], STARS]
        shown_to = max(shown_to, end)
    return "".join([*shown, text[max(shown_to, 0) :]])


def _user_info(address: str) -> re.Match[str] | None:
    """User and password of what is one address; None where it has none."""
    if not _USER_INFO.search("".join(address.split())):
        return None
    before_query = _QUERY_SECRET.split(address, maxsplit=1)[0]
    return next((match for form in _ADDRESSES if (match := form.match(before_query))), None)


def mask_mapping(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields of a log's record as they may be shown: keys, texts, and whatever stands under a secret's name."""
    return {mask(str(key)): STARS if is_secret_name(str(key)) and value else _shown(value) for key, value in values.items()}


def _shown(value: object) -> object:
    """Texts masked, mappings and sequences by their parts; what is neither becomes text if it shows a secret."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return mask_mapping(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(part) for part in value]
    text = str(value)
    masked = mask(text)
    return value if masked == text else masked


def mask_tracebacks() -> None:
    """Have tracebacks that end the process or a thread masked on their way to standard error."""
    sys.excepthook = _print_exception
    threading.excepthook = _print_thread_exception


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))
    sys.stderr.flush()


def _print_thread_exception(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_type is SystemExit or hook.exc_value is None:
        return
    sys.stderr.write(f"Exception in thread {hook.thread.name if hook.thread else '?'}:\n")
    _print_exception(hook.exc_type, hook.exc_value, hook.exc_traceback)


def _written(text: str, user: str) -> set[str]:
    """The value as the ways of writing it show it; percent-encoding in either case."""
    encoded = {quote(text, safe=""), quote(text), quote_plus(text)}
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in encoded}
    plain = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    basic = {base64.b64encode(f"{user}:{text}".encode()).decode().rstrip("=")} if text else set()
    return plain | encoded | lower | basic

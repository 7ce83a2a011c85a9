"""Putting rules into a running Kafka, and taking a node's out again."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in its __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sightline_contract.errors import BrokerError
from sightline_edge.config import Tls
from sightline_edge.security.acls import Acl
from sightline_edge.security.refusals import explain
from sightline_edge.security.tls import check_tls, librdkafka_options

_TIMEOUT_S = 15.0


class KafkaAdmin:
    """An operator's connection to a Kafka; its certificate's name must be one of the broker's ``super.users``."""

    def __init__(self, bootstrap: str, tls: Tls) -> None:
        """Check the operator's files and that the broker answers; raises ConfigError or BrokerError."""
        check_tls(tls, datetime.now(UTC))
        self._where, self._tls = f"Kafka at {bootstrap}", tls
        self._last: KafkaError | None = None
        options: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "error_cb": self._note,
            **librdkafka_options(tls),
        }
        self._client = AdminClient(options)
        try:
            self._client.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._client.poll(0)  # brings what the door said to _note
            raise self._failure(self._last or error.args[0]) from error

    def allow(self, acls: Iterable[Acl]) -> int:
        """Create ``acls``, which may exist, and see them in force; returns how many were given. Raises BrokerError."""
        bindings = [_binding(acl) for acl in acls]
        self._wait(self._client.create_acls(bindings, request_timeout=_TIMEOUT_S).values())
        principals = {binding.principal for binding in bindings}
        self._until(lambda: set(bindings) <= {each for principal in principals for each in self._in_force(principal)})
        return len(bindings)

    def remove(self, node: str) -> int:
        """Take every permission of ``node`` away, as of a lost device; returns how many it had. Raises BrokerError."""
        principal = f"User:{node}"
        futures = self._client.delete_acls([_any_of(principal)], request_timeout=_TIMEOUT_S)
        self._wait(futures.values())
        self._until(lambda: not self._in_force(principal))
        return sum(len(future.result()) for future in futures.values())

    def _in_force(self, principal: str) -> list[AclBinding]:
        future = self._client.describe_acls(_any_of(principal), request_timeout=_TIMEOUT_S)
        self._wait([future])
        return list(future.result())

    def _until(self, settled: Callable[[], bool]) -> None:
        """The controller takes rules down first; a broker enforces them a moment later."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not settled():
            if time.monotonic() > deadline:
                raise BrokerError(f"{self._where}: does not enforce new rules after {_TIMEOUT_S:.0f} s: see the broker's log")
            time.sleep(0.02)

    def _wait(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            try:
                future.result()
            except KafkaException as error:
                raise self._failure(error.args[0]) from error

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = error

    def _failure(self, error: KafkaError) -> BrokerError:
        return BrokerError(explain(error, self._where, self._tls))


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(
        ResourceType[acl.resource.name],
        acl.name,
        ResourcePatternType[acl.pattern.name],
        acl.principal,
        "*",
        AclOperation[acl.operation.upper()],
        AclPermissionType.ALLOW,
    )


def _any_of(principal: str) -> AclBindingFilter:
    anything: Any = None
    return AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        principal,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )

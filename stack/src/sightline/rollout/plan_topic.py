"""The topic rollout_plans: where people say what they want, and where the judge reads it."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sightline.rollout.desk import Desk, OvertakenError
from sightline.rollout.key_topic import read_keys, take, written
from sightline.topic_content import read_topic
from sightline_contract.errors import BrokerError, ConfigError
from sightline_contract.settings import explain
from sightline_contract.topics import ROLLOUT_KEYS, ROLLOUT_PLANS
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import RolloutPlan
from sightline_streaming.config import KafkaConfig
from sightline_streaming.kafka import count_partitions
from sightline_streaming.publisher import publish

if TYPE_CHECKING:
    from confluent_kafka import Message

_AT_ONCE = 1000
_TRANSACTIONAL_ID = "rollout-start"


def read_plans(kafka: KafkaConfig) -> dict[str, RolloutPlan]:
    """The newest message of every rollout, by its id and in the order of their begin; raises BrokerError."""
    plans: dict[str, RolloutPlan] = {}
    for plan in _parse(read_topic(kafka.bootstrap_servers, ROLLOUT_PLANS.name, kafka.librdkafka_options())):
        _take(plans, plan)
    return dict(sorted(plans.items(), key=lambda item: item[1].started_us))


def newest_plan(plans: Mapping[str, RolloutPlan], rollout_id: str | None) -> RolloutPlan:
    """The plan of that id, or the newest one; raises ConfigError where there is none."""
    if not plans:
        raise ConfigError("there is no rollout: begin one with 'sightline models rollout start'")
    if rollout_id is None:
        return list(plans.values())[-1]
    if rollout_id not in plans:
        raise ConfigError(f"there is no rollout {rollout_id!r}: see 'sightline models rollout list'")
    return plans[rollout_id]


def write_plan(plan: RolloutPlan, kafka: KafkaConfig) -> None:
    """Publish a later edit of a plan and wait until the broker has it; raises BrokerError."""
    publish([(plan.rollout_id, plan.model_dump_json().encode(), [])], ROLLOUT_PLANS, kafka)


class PlanDesk:
    """The one place where a rollout begins: of two that begin at once, one is refused, the one that came first.

    So nobody begins a rollout without having seen the one before it. Raises BrokerError throughout.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        self._desk = Desk(kafka, _TRANSACTIONAL_ID, ROLLOUT_PLANS.name)
        self.kafka = kafka
        self.plans = read_plans(kafka)

    def begin(self, plan: RolloutPlan, keys: Sequence[NodeKeys] = (), announce: Callable[[], None] = lambda: None) -> None:
        """Publish a first plan with the keys of its sealed parts, all or nothing (``announce``: see Desk.write).

        Keys of rollouts before are taken from the topic: only the newest one is stepped. Raises ConfigError where somebody
        else has come in between.
        """
        old = [each for of_rollout in read_keys(self.kafka).values() for each in of_rollout.values()]
        forgotten = [(ROLLOUT_KEYS.name, each.record_key, None) for each in old if each.rollout_id != plan.rollout_id]
        messages = [*forgotten, *map(written, keys), (ROLLOUT_PLANS.name, plan.rollout_id, plan.model_dump_json().encode())]
        try:
            self._desk.write(messages, announce)
        except OvertakenError as error:
            raise ConfigError("another rollout was begun meanwhile: see 'sightline models rollout status'") from error


class PlanFollower:
    """All plans and keys of nodes at first, then news as they come; raises BrokerError."""

    def __init__(self, kafka: KafkaConfig, group: str = "judge") -> None:
        from confluent_kafka import Consumer, TopicPartition

        partitions = count_partitions(kafka, [ROLLOUT_PLANS.name, ROLLOUT_KEYS.name])
        options = {**kafka.librdkafka_options(), "group.id": group, "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(options)
        self._consumer.assign(
            [TopicPartition(topic, number, 0) for topic, count in partitions.items() for number in range(count)]
        )
        # What is there already; messages that are read again are no news.
        self.plans = read_plans(kafka)
        self._keys = read_keys(kafka)

    @property
    def newest(self) -> RolloutPlan | None:
        """The one that began last: the only one that is stepped."""
        return max(self.plans.values(), key=lambda plan: plan.started_us, default=None)

    def keys_of(self, rollout_id: str) -> Mapping[str, NodeKeys]:
        """Keys of the rollout by node, which grow as news come."""
        return self._keys.setdefault(rollout_id, {})

    def poll(self) -> set[str]:
        """Take what has come, and return the ids of rollouts that have news; raises BrokerError."""
        changed: set[str] = set()
        while messages := self._come():
            keys = [message for message in messages if message.topic() == ROLLOUT_KEYS.name]
            plans = _parse(message for message in messages if message.topic() != ROLLOUT_KEYS.name)
            changed |= {plan.rollout_id for plan in plans if _take(self.plans, plan)}
            changed.update(filter(None, (take(self._keys, message) for message in keys)))
        return changed

    def _come(self) -> "list[Message]":
        from confluent_kafka import KafkaException

        try:
            return self._consumer.consume(_AT_ONCE, 0.0)
        except KafkaException as error:
            raise BrokerError(f"topic {ROLLOUT_PLANS.name}: cannot be read ({error}): see whether Kafka runs") from error

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()


def _take(plans: dict[str, RolloutPlan], plan: RolloutPlan) -> bool:
    """Keep the plan unless a later edit of it is there."""
    known = plans.get(plan.rollout_id)
    if known is not None and known.edit >= plan.edit:
        return False
    plans[plan.rollout_id] = plan
    return True


def _parse(messages: "Iterable[Message]") -> Iterator[RolloutPlan]:
    for message in messages:
        value = message.value()
        if message.error() is not None or value is None:
            continue
        try:
            yield RolloutPlan.model_validate_json(value)
        except ValidationError as error:
            where = f"{ROLLOUT_PLANS.name} offset {message.offset()}"
            print(f"{where}: passed over, it is no plan: {explain(error)}", file=sys.stderr, flush=True)

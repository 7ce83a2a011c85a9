"""The topic rollout_plans: where people say what they want, and where the judge reads it."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sightline.topic_content import read_topic
from sightline_contract.errors import BrokerError, ConfigError
from sightline_contract.settings import explain
from sightline_contract.topics import ROLLOUT_PLANS
from sightline_models.rollout.plan import RolloutPlan
from sightline_streaming.config import KafkaConfig
from sightline_streaming.kafka import count_partitions
from sightline_streaming.publisher import publish

if TYPE_CHECKING:
    from confluent_kafka import Message

_AT_ONCE = 1000
_TIMEOUT_S = 30.0


def read_plans(kafka: KafkaConfig) -> dict[str, RolloutPlan]:
    """The newest message of every rollout, by its id and in the order of their begin; raises BrokerError."""
    options = {name: value for name, value in kafka.librdkafka_options().items() if name != "bootstrap.servers"}
    plans: dict[str, RolloutPlan] = {}
    for plan in _parse(read_topic(kafka.bootstrap_servers, ROLLOUT_PLANS.name, options)):
        _take(plans, plan)
    return dict(sorted(plans.items(), key=lambda item: item[1].started_us))


def write_plan(plan: RolloutPlan, kafka: KafkaConfig) -> None:
    """Publish a later edit of a plan and wait until the broker has it; raises BrokerError."""
    publish([(plan.rollout_id, plan.model_dump_json().encode(), [])], ROLLOUT_PLANS, kafka)


class PlanDesk:
    """The one place where a rollout begins: of two that begin at once, one is refused.

    Kafka sees to it: who comes later shuts the former out, whose plan is not taken any more, and reads what there is after
    that. So nobody begins a rollout without having seen the one before it. Raises BrokerError throughout.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        from confluent_kafka import KafkaException, Producer

        self._where = f"topic {ROLLOUT_PLANS.name} at {kafka.bootstrap_servers}"
        options: dict[str, Any] = {**kafka.librdkafka_options(), "transactional.id": "rollout-start", "log_level": 0}
        # An error is raised where it is met; librdkafka would print it, too.
        options["error_cb"] = lambda _error: None
        self._producer = Producer(options)
        try:
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(f"{self._where}: lets nobody begin ({error.args[0].str()}): see whether Kafka runs") from error
        self.plans = read_plans(kafka)

    def begin(self, plan: RolloutPlan) -> None:
        """Publish a first plan; raises ConfigError where somebody else has come in between."""
        from confluent_kafka import KafkaError, KafkaException

        try:
            self._producer.begin_transaction()
            self._producer.produce(ROLLOUT_PLANS.name, key=plan.rollout_id, value=plan.model_dump_json().encode())
            self._producer.commit_transaction(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED):
                raise ConfigError("another rollout was begun meanwhile: see 'sightline models rollout status'") from error
            raise BrokerError(f"{self._where}: takes no plan ({error.args[0].str()}): see whether Kafka runs") from error


class PlanFollower:
    """All plans at first, then news as they come; raises BrokerError."""

    def __init__(self, kafka: KafkaConfig) -> None:
        from confluent_kafka import Consumer, TopicPartition

        partitions = count_partitions(kafka, [ROLLOUT_PLANS.name])[ROLLOUT_PLANS.name]
        options = {**kafka.librdkafka_options(), "group.id": "judge", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(options)
        self._consumer.assign([TopicPartition(ROLLOUT_PLANS.name, number, 0) for number in range(partitions)])
        # What is there already; messages that are read again are no news.
        self.plans = read_plans(kafka)

    def poll(self) -> set[str]:
        """Take what has come, and return the ids of plans that are new or changed; raises BrokerError."""
        from confluent_kafka import KafkaException

        try:
            messages = self._consumer.consume(_AT_ONCE, 0.0)
        except KafkaException as error:
            raise BrokerError(f"topic {ROLLOUT_PLANS.name}: cannot be read ({error}): see whether Kafka runs") from error
        return {plan.rollout_id for plan in _parse(messages) if _take(self.plans, plan)}

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


def _parse(messages: "Iterator[Message] | list[Message]") -> Iterator[RolloutPlan]:
    for message in messages:
        value = message.value()
        if message.error() is not None or value is None:
            continue
        try:
            yield RolloutPlan.model_validate_json(value)
        except ValidationError as error:
            where = f"{ROLLOUT_PLANS.name} offset {message.offset()}"
            print(f"{where}: passed over, it is no plan: {explain(error)}", file=sys.stderr, flush=True)

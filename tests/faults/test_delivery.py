"""Messages come twice, in any order, broken, or from another time: sums are those of what was sent, once."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun

from sightline.results.reading import read_table
from sightline.simulate.encoding import Message
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION
from sightline_lakehouse.tables import DEAD_LETTERS

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.slow]

RunOf = Callable[[SmallCity], FaultyRun]


def poison(message: Message) -> list[Message]:
    """Messages that the jobs must refuse, in the message's place."""
    newer, torn, nameless = (DetectionBatch.FromString(message.payload) for _ in range(3))
    newer.schema_version = SCHEMA_VERSION + 1
    torn.box_changes = torn.box_changes + b"\0"
    nameless.camera_id = ""
    payloads = [None, b"", b"\xff\xfe poison", b"{}", message.payload[:-7]]
    payloads += [each.SerializeToString() for each in (newer, torn, nameless)]
    return [*(replace(message, payload=payload) for payload in payloads), replace(message, key="another-camera")]


def test_what_comes_again_is_dropped_and_what_is_broken_is_kept_with_its_place(run_of: RunOf, uplink: Uplink) -> None:
    """Protection: the gate of the core (and the memory that the test below is about); without it broken messages are counted,
    11 of them as those of a camera without a name.
    """
    city = SmallCity(60)
    run = run_of(city)
    bad = [each for message in city.messages[50:250:50] for each in poison(message)]
    third = len(city.messages) // 3
    uplink.send(city.messages[: 2 * third])
    uplink.send(city.messages[third - 20 : third + 20])
    uplink.send(bad)
    uplink.send(city.messages[third:])
    uplink.send(city.messages[: 2 * third])
    uplink.flush()
    run.finish()
    good = [message for message in uplink.acknowledged if message not in bad]
    assert len(good) == len(city.messages) + third + 40 + 2 * third
    assert_exactly_once(run.tables, good)
    assert_facts_of(run.tables, city)
    letters = read_table(run.tables, DEAD_LETTERS).to_pylist()
    assert Counter(letter["payload"] for letter in letters) == Counter(message.payload for message in bad)
    assert len({(letter["source_partition"], letter["source_offset"]) for letter in letters}) == len(bad)
    assert all(letter["reason"] for letter in letters)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1])
def test_shuffled_and_repeated_messages_are_each_counted_once(run_of: RunOf, uplink: Uplink, seed: int) -> None:
    """Protection: a camera remembers which of its last 1,024 messages it has met; forgetting them after each
    micro-batch, 122 messages of a camera's 60 are counted.
    """
    city = SmallCity(60)
    run = run_of(city)
    shuffled = [*city.messages, *city.messages[::3], *city.messages[::5]]
    random.Random(seed).shuffle(shuffled)
    uplink.send(shuffled)
    uplink.flush()
    run.finish()
    assert_exactly_once(run.tables, uplink.acknowledged)

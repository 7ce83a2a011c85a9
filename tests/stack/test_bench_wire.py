"""``sightline bench wire``: its figures agree with each other, and with what a broker keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner

from sightline.bench.sequences import Sequence
from sightline.bench.wire import BATCHES, joined, squeezed
from sightline.bench.wire_content import Content, as_sent, messages_of, recorded, sample_of
from sightline.bench.wire_encodings import (
    ENCODINGS,
    JSON_COLUMNS,
    JSON_ROWS,
    MSGPACK_COLUMNS,
    MSGPACK_ROWS,
    VERSION_1,
    VERSION_2,
    as_columns,
    as_rows,
)
from sightline.bench.wire_kafka import Stored, read_stored, store
from sightline.broker import Broker
from sightline.cli import app
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.camera import Scene
from sightline_contract.errors import BrokerError

OTHERS = (MSGPACK_COLUMNS, MSGPACK_ROWS, JSON_COLUMNS, JSON_ROWS)


def walk(name: str = "street", frames: int = 75, rate: float = 30.0) -> Sequence:
    """Six people who walk, a seventh of their boxes missed, as a detections file has them."""
    rng = np.random.default_rng(len(name))
    rows = [
        (
            frame,
            100.0 * k + 2.0 * frame + rng.normal(),
            80.0 + 30 * k + rng.normal(),
            40.0 + 9 * k,
            90.0 + 20 * k,
            0.5 + 0.05 * k,
            -1,
        )
        for frame in range(1, frames + 1)
        for k in range(6)
        if (frame + k) % 7
    ]
    table = np.array(rows, np.float64)
    return Sequence(name, Path(name), "MOT15", Scene.FIXED, rate, frames, table, (1280, 720))


@pytest.fixture(scope="module")
def content() -> Content:
    return recorded([walk("street"), walk("square"), walk("yard")])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("wire") / "wire.json"
    words = ["bench", "wire", "--cameras", "14", "--seconds", "30", "--no-kafka", "--repeats", "1", "--json", str(file)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    return json.loads(file.read_text()) | {"printed": found.output}


def test_the_contract_is_smaller_than_messagepack_and_json_of_the_same_content(report: dict[str, Any]) -> None:
    for figures in report["contents"].values():
        sizes = figures["bytes_per_detection"]
        ours = sizes[VERSION_2]
        for name in (VERSION_1, *OTHERS):
            assert ours["plain"] < sizes[name]["plain"]
            assert all(ours["zstd"][batch] < sizes[name]["zstd"][batch] for batch in BATCHES)


def test_six_objects_a_frame_take_less_than_six_bytes_a_detection(report: dict[str, Any]) -> None:
    six = report["contents"]["six objects a frame"]
    assert 5.5 <= six["detections"] / six["frames"] <= 6.5
    assert six["frames"] == 30 * six["messages"]
    # A message alone is at the edge of it; that of a node's cameras is what Kafka compresses together.
    sizes = six["bytes_per_detection"][VERSION_2]["zstd"]
    assert sizes["node"] <= 5.5
    assert sizes["alone"] <= 6.5


def test_more_messages_together_take_fewer_bytes(report: dict[str, Any]) -> None:
    for figures in report["contents"].values():
        for sizes in figures["bytes_per_detection"].values():
            assert sizes["plain"] > sizes["zstd"]["alone"] > sizes["zstd"]["node"] >= sizes["zstd"]["city"]


def test_what_is_printed_is_what_is_written(report: dict[str, Any]) -> None:
    for name, figures in report["contents"].items():
        assert f"{name}: {figures['detections']} detections" in report["printed"]
        for sizes in figures["bytes_per_detection"].values():
            assert f"{sizes['plain']:.2f}" in report["printed"]
    timed = {name for name, runs in report["ns_per_detection"].items() if len(runs) == 1 and runs[0] > 0}
    assert timed == {f"{way} {name}" for way in ("write", "read") for name in ENCODINGS} | {
        f"read {VERSION_2}, message by message"
    }
    at_level = report["levels"][str(report["zstd_level"])]
    assert at_level["alone"] == report["contents"]["six objects a frame"]["bytes_per_detection"][VERSION_2]["zstd"]["alone"]


def test_all_encodings_tell_the_same(content: Content) -> None:
    for sample in content.samples:
        columns, rows = as_columns(sample), as_rows(sample)
        told = [each for frame in rows["frames"] for each in frame["detections"]]
        assert [value for each in told for value in each["box"]] == columns["boxes"]
        assert [each["score"] for each in told] == columns["scores"]
        assert [each["class"] for each in told] == columns["classes"]
        assert [len(frame["detections"]) for frame in rows["frames"]] == columns["detections_per_frame"]
        for name in (VERSION_1, VERSION_2):
            again = sample_of(parse_batch(ENCODINGS[name].encode(sample)))
            np.testing.assert_array_equal(again.units, sample.units)
            np.testing.assert_allclose(again.frames.scores, sample.frames.scores, atol=1e-6)
            np.testing.assert_array_equal(again.frames.classes, sample.frames.classes)


def test_messages_are_joined_up_to_their_number_and_a_producers_bytes() -> None:
    assert list(joined([b"a", b"b", b"c"], 2)) == [b"ab", b"c"]
    large = [bytes(600_000), bytes(300_000), bytes(200_000)]
    assert [len(part) for part in joined(large, 10)] == [900_000, 200_000]
    assert zstandard.ZstdDecompressor().decompress(squeezed(b"abc" * 99), 297) == b"abc" * 99


def test_a_recordings_frames_and_detections_are_all_sent_once() -> None:
    sequence = walk(frames=75, rate=12.5)
    messages = messages_of(sequence)
    frames = [get_frames(batch) for batch in messages]
    assert [len(each.counts) for each in frames] == [13, 12, 13, 12, 13, 12]
    assert [batch.first_frame for batch in messages] == [0, 13, 25, 38, 50, 63]
    assert (
        np.concatenate([each.counts for each in frames]).tolist()
        == np.bincount(sequence.detections[:, 0].astype(int))[1:].tolist()
    )


@pytest.mark.parametrize(("version", "off_px"), [(1, 0.02), (2, 0.13)])
def test_a_reader_gets_a_recordings_boxes_nearly_as_they_were(version: int, off_px: float) -> None:
    sequence = walk()
    sent = as_sent(sequence, version).detections
    given = sequence.detections
    assert sent[:, 0].tolist() == given[:, 0].tolist()
    assert np.all(sent[:, 6] == -1)
    # Within a frame people stand from left to right already, and no box leaves the frame.
    np.testing.assert_allclose(sent[:, 1:5], given[:, 1:5], atol=1.5 * off_px)


@pytest.mark.kafka
def test_the_brokers_files_hold_zstd_in_batches_of_the_asked_size(broker: Broker, content: Content) -> None:
    messages = [(sample.batch.camera_id, ENCODINGS[VERSION_2].encode(sample)) for sample in content.samples]
    alone, together = (store(broker, f"wire-test-{size}", messages, size) for size in (1, 20))
    assert (alone.messages, alone.batches, alone.codec) == (len(messages), len(messages), "zstd")
    assert (together.messages, together.batches, together.codec) == (len(messages), 1, "zstd")
    assert together.size < alone.size
    # A record batch is its head, and what zstd makes of its records.
    assert alone.size > sum(len(squeezed(payload)) for _, payload in messages) + 61 * len(messages)


@pytest.mark.kafka
def test_detections_are_stored_as_zstd_whoever_sends_them(broker: Broker) -> None:
    from confluent_kafka import Producer

    from sightline.broker import create_topics
    from sightline_contract.topics import DETECTIONS, Topic

    create_topics(broker.bootstrap, [Topic("wire-test-plain", "camera_id", "any", "Of a test.", 1, DETECTIONS.config)])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": "none"})
    producer.produce("wire-test-plain", bytes(10_000))
    assert producer.flush(30) == 0
    stored = read_stored(broker.config.data_dir / "log" / "wire-test-plain-0")
    assert stored == Stored(stored.size, batches=1, messages=1, codec="zstd")
    assert stored.size < 1_000


def test_a_folder_without_record_batches_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="of 0 codecs"):
        read_stored(tmp_path)

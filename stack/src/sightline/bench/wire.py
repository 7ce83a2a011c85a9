"""``sightline bench wire``: bytes per detection from the edge to Kafka, and what they cost, beside JSON and MessagePack."""

import json as json_format
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zstandard
from rich.console import Console

from sightline.bench.scoring import COMBINED, score
from sightline.bench.sequences import Sequence as Recording
from sightline.bench.stopwatch import race
from sightline.bench.wire_content import Content, as_sent, read_recordings, recorded, simulated
from sightline.bench.wire_encodings import ENCODINGS, JSON_COLUMNS, MSGPACK_COLUMNS, VERSION_1, VERSION_2, numpy_reader
from sightline.bench.wire_kafka import store
from sightline.bench.wire_report import print_report
from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port
from sightline.results.machine import installed_versions, this_machine
from sightline.results.whole_file import whole_file
from sightline_contract.errors import ConfigError
from sightline_contract.topics import PRODUCER_COMPRESSION

LEVEL = int(PRODUCER_COMPRESSION["compression.level"])
LEVELS = (1, 3, 6, 9)
# Messages that are compressed together: one alone, those of a node's cameras, and a city's as many as a producer takes.
BATCHES = {"alone": 1, "node": 20, "city": 10_000}
_MOST_BYTES = 1_000_000
_PACKAGES = ("sightline", "confluent-kafka", "msgpack", "numba", "numpy", "protobuf", "zstandard")
_THROUGH_KAFKA = (VERSION_2, VERSION_1, MSGPACK_COLUMNS, JSON_COLUMNS)


@dataclass(frozen=True)
class WireChoice:
    """What the command line asked for."""

    cameras: int = 200
    seconds: int = 60
    seed: int = 1
    kafka: bool = True
    repeats: int = 5


def bench_wire(choice: WireChoice, data: Path | None, json: Path | None) -> dict[str, Any]:
    """Measure, print, and write the figures to ``json`` where it is given; raises SightlineError."""
    if json is not None and json.is_dir():
        raise ConfigError(f"--json {json}: is a folder: give a file")
    recordings = read_recordings(data) if data is not None else []
    contents = simulated(choice.cameras, choice.seconds, choice.seed)
    if recordings:
        contents.append(recorded(recordings))
    payloads = {content.name: _encoded(content) for content in contents}
    figures = {content.name: _sizes(content, payloads[content.name]) for content in contents}
    if choice.kafka:
        _through_kafka(contents, payloads, figures)
    report = {
        "choice": asdict(choice),
        "machine": this_machine().model_dump(),
        "versions": {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))} | installed_versions(_PACKAGES),
        "zstd_level": LEVEL,
        "contents": figures,
        "ns_per_detection": _times(contents[0], payloads[contents[0].name], choice.repeats),
        "levels": _levels(contents[0], payloads[contents[0].name][VERSION_2], choice.repeats),
        "tracking": _tracking(recordings),
    }
    print_report(report, Console())
    if json is not None:
        with whole_file(json) as partial:
            partial.write_text(json_format.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _encoded(content: Content) -> dict[str, list[bytes]]:
    return {name: [encoding.encode(sample) for sample in content.samples] for name, encoding in ENCODINGS.items()}


def _sizes(content: Content, payloads: dict[str, list[bytes]]) -> dict[str, Any]:
    """Bytes per detection of each encoding: plain, and by zstd in batches of each size."""
    n = content.detections
    encodings = {}
    for name, messages in payloads.items():
        packed = {batch: sum(len(squeezed(part)) for part in joined(messages, size)) / n for batch, size in BATCHES.items()}
        encodings[name] = {"plain": sum(map(len, messages)) / n, "zstd": packed}
    counts = {"cameras": content.cameras, "messages": len(content.samples), "frames": content.frames, "detections": n}
    return counts | {"bytes_per_detection": encodings}


def joined(messages: Sequence[bytes], most: int) -> Iterator[bytes]:
    """Up to ``most`` messages after each other, and no more bytes than a producer batches."""
    part: list[bytes] = []
    size = 0
    for message in messages:
        if part and (len(part) == most or size + len(message) > _MOST_BYTES):
            yield b"".join(part)
            part, size = [], 0
        part.append(message)
        size += len(message)
    if part:
        yield b"".join(part)


def squeezed(data: bytes, level: int = LEVEL) -> bytes:
    """Compressed as a producer would."""
    return zstandard.ZstdCompressor(level=level, write_content_size=False).compress(data)


def _through_kafka(contents: Sequence[Content], payloads: dict[str, dict[str, list[bytes]]], figures: dict[str, Any]) -> None:
    """Note bytes per detection on a real broker's disk, all heads, keys and stamps with them."""
    with (
        tempfile.TemporaryDirectory(prefix="sightline-wire-") as home,
        Broker(BrokerConfig(Path(home), free_port())) as broker,
    ):
        for c, content in enumerate(contents):
            keys = [sample.batch.camera_id for sample in content.samples]
            for e, name in enumerate(_THROUGH_KAFKA):
                messages = list(zip(keys, payloads[content.name][name], strict=True))
                found = {}
                for batch, size in BATCHES.items():
                    stored = store(broker, f"wire-{c}-{e}-{batch}", messages, size)
                    found[batch] = asdict(stored) | {"bytes_per_detection": stored.size / content.detections}
                figures[content.name]["bytes_per_detection"][name]["kafka"] = found


def _times(content: Content, payloads: dict[str, list[bytes]], repeats: int) -> dict[str, Any]:
    """CPU time of writing (encode, compress) and reading (decompress, decode) each message alone, run by run."""
    if not repeats:
        return {}
    contestants: dict[str, tuple[int, Callable[[], object]]] = {}
    for name, encoding in ENCODINGS.items():
        packed = [squeezed(message) for message in payloads[name]]
        contestants[f"write {name}"] = content.detections, _writing(content, encoding.encode)
        contestants[f"read {name}"] = content.detections, _reading(packed, encoding.decode)
        if name == VERSION_2:
            contestants[f"read {name}, message by message"] = content.detections, _reading(packed, numpy_reader)
    return {name: [1e9 / run for run in rate.runs] for name, rate in race(contestants, repeats).items()}


def _writing(content: Content, encode: Callable[[Any], bytes]) -> Callable[[], object]:
    return lambda: [squeezed(encode(sample)) for sample in content.samples]


def _reading(packed: Sequence[bytes], decode: Callable[[Sequence[bytes]], object]) -> Callable[[], object]:
    def read() -> object:
        reader = zstandard.ZstdDecompressor()
        return decode([reader.decompress(message, _MOST_BYTES) for message in packed])

    return read


def _levels(content: Content, messages: list[bytes], repeats: int) -> dict[str, Any]:
    """Bytes per detection and CPU time of compressing a message alone, by zstd's level."""
    n = content.detections
    found: dict[str, Any] = {}
    for level in LEVELS:
        found[str(level)] = {
            batch: sum(len(squeezed(part, level)) for part in joined(messages, size)) / n for batch, size in BATCHES.items()
        }
    if repeats:
        calls = {str(level): (n, _squeezing(messages, level)) for level in LEVELS}
        for name, rate in race(calls, repeats).items():
            found[name]["ns_per_detection"] = [1e9 / run for run in rate.runs]
    return found


def _squeezing(messages: list[bytes], level: int) -> Callable[[], object]:
    return lambda: [squeezed(message, level) for message in messages]


def _tracking(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """The tracker's combined scores on the files' detections, and on what a reader of each version gets of them."""
    if not recordings:
        return []
    from sightline.bench.ablations import DEFAULT
    from sightline.bench.tracking import tracked

    rows = []
    ways = {"file": list(recordings)} | {f"version {v}": [as_sent(each, v) for each in recordings] for v in (1, 2)}
    for way, sent in ways.items():
        found = score(list(recordings), {each.name: tracked(each, DEFAULT) for each in sent})
        for (rules, sequence, class_name), row in sorted(found.items()):
            if sequence == COMBINED:
                rows.append({"rules": rules, "class": class_name, "detections": way, **row.as_row()})
    return sorted(rows, key=lambda row: (row["rules"], row["class"], row["detections"]))

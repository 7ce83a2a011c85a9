"""What the tracker states of one fact: columns of the Arrow tables in the payloads of ``bronze.tracker_facts``.

A kind has some of them, and the others are null to who reads.
"""

import pyarrow as pa

from sightline_lakehouse.arrow import arrow_type
from sightline_lakehouse.tables import FACT_KINDS, Column

FACT_COLUMNS = (
    Column(
        "kind",
        "string",
        "What the row states.",
        values=FACT_KINDS,
    ),
    Column("camera_id", "string", "Camera; empty in a dead letter whose camera cannot be told."),
    Column("session", "bigint", "Start of the camera's pipeline run, UTC microseconds.", minimum=0),
    Column("track_no", "bigint", "Counter of the track within camera and session.", nullable=True, minimum=0),
    Column("class_id", "int", "Class id of the contract's labels; -1 in a count of all classes.", nullable=True),
    Column("window_start_us", "bigint", "Start of the counting window that the row falls into.", nullable=True),
    Column(
        "start_us",
        "bigint",
        "Segment: first observation. Crossing: the crossing. Visit: entry. Event: its begin. Health: first frame.",
    ),
    Column(
        "end_us",
        "bigint",
        "Segment: last observation. Visit: exit. Event: when it was told. Health: last frame. Otherwise as start_us.",
    ),
    Column("observations", "int", "Segment: observed boxes.", nullable=True),
    Column("score", "float", "Segment: mean detection score.", nullable=True),
    Column("distance_px", "float", "Segment: length of the foot-point's path, px.", nullable=True),
    Column("speed_px_s", "float", "Segment: mean speed, px/s.", nullable=True),
    Column("distance_m", "float", "Segment: way on the ground, m.", nullable=True),
    Column("speed_m_s", "float", "Segment: mean speed on the ground, m/s. Crossing: speed at it.", nullable=True),
    Column("max_speed_m_s", "float", "Segment: highest speed on the ground, m/s.", nullable=True),
    # Packed, little-endian: Spark's pandas operators turn an array column into one Python object per number.
    Column("times_ms", "binary", "Segment: int32 per box, time since start_us, ms.", nullable=True),
    Column("boxes", "binary", "Segment: 4 float32 per box, x1, y1, x2, y2, px.", nullable=True),
    Column("sources", "binary", "Segment: uint8 per box, 0 observed, 1 unconfirmed, 2 interpolated.", nullable=True),
    Column("first_segment", "boolean", "Segment: the track's first.", nullable=True),
    Column("place", "string", "Crossing: line. Visit, event: zone.", nullable=True),
    Column("direction", "string", "Crossing: direction's name.", nullable=True),
    Column("x", "float", "Crossing: where, px.", nullable=True),
    Column("y", "float", "Crossing: where, px.", nullable=True),
    Column("event_kind", "string", "Event: what happened.", nullable=True),
    Column("rule", "string", "Event: rule of the zone.", nullable=True),
    Column("value", "double", "Event: what was measured.", nullable=True),
    Column("rule_limit", "double", "Event: what the rule allows.", nullable=True),
    Column("unit", "string", "Event: unit of value and rule_limit.", nullable=True),
    Column("evidence", "string", "Event: the rule and its numbers, tracks with times and boxes, JSON.", nullable=True),
    Column("objects", "int", "Count: distinct confirmed tracks in the window. Anomaly: new ones in the hour.", nullable=True),
    Column("new_objects", "int", "Count: tracks whose first box lies in the window.", nullable=True),
    Column("detections", "bigint", "Health, count: detections received.", nullable=True),
    Column("frames_received", "bigint", "Health, count: analysed frames received.", nullable=True),
    Column("frames_expected", "bigint", "Health, count: frames that the camera gave, or should have.", nullable=True),
    Column("late_rows", "bigint", "Count: detections that came too late to be tracked. Health: the same.", nullable=True),
    Column("batches_received", "bigint", "Health: messages taken.", nullable=True),
    Column("batches_duplicate", "bigint", "Health: messages seen before, dropped.", nullable=True),
    Column("batches_missing", "bigint", "Health: gap in seq found, less those that came late.", nullable=True),
    Column("batches_late", "bigint", "Health: messages behind the camera's last, not tracked.", nullable=True),
    Column("lag_us", "bigint", "Health: least time from a message's last frame to its arrival.", nullable=True),
    Column("expected", "double", "Anomaly: what is usual at this hour.", nullable=True),
    Column("deviation", "double", "Anomaly: standard deviation of what is usual.", nullable=True),
    Column("days", "int", "Anomaly: days behind what is usual.", nullable=True),
    Column("arrived_us", "bigint", "Kafka's timestamp of the newest message behind the row.", nullable=True),
    Column("model_version", "string", "Version of the model whose detections these are.", nullable=True),
    Column("reason", "string", "Dead letter: why it was refused.", nullable=True),
    Column("source_partition", "int", "Dead letter: Kafka partition.", nullable=True),
    Column("source_offset", "bigint", "Dead letter: Kafka offset.", nullable=True),
    Column("payload", "binary", "Dead letter: the message.", nullable=True),
)

SCHEMA = pa.schema([pa.field(column.name, arrow_type(column.type), column.nullable) for column in FACT_COLUMNS])

"""Models on nodes: what nodes report, what reached the centre, and what was decided."""

from sightline_lakehouse.tables.definition import EVENT_DATE, MODEL_VERSION, Column, Layer, Table

_NODE = Column("node_id", "string", "Edge node.")
_SITE = Column("site", "string", "Site of the node.")
_MODEL_NAME = Column("model_name", "string", "Registered model.")
_REPORTED = Column("reported_at", "timestamp", "End of the report's span, node's clock.")
_SCORES = Column("score_counts", "array<bigint>", "Detections by score: equal bins from 0 to 1.")
_CLASS_NAMES = Column("class_names", "array<string>", "Classes that were seen.")
_CLASS_COUNTS = Column("class_counts", "array<bigint>", "Detections of each of class_names.")

MODEL_STATUS = Table(
    Layer.GOLD,
    "model_status",
    "One row per report of a node on its models; a report repeats only if Kafka delivered it again.",
    (
        _NODE,
        _SITE,
        Column("hardware", "string", "The node's first target."),
        Column("targets", "array<string>", "What the node can run, best first."),
        Column("from_at", "timestamp", "Begin of the report's span, node's clock."),
        _REPORTED,
        Column("rollout_id", "string", "Rollout of the desired models that the node follows or refuses; empty: none."),
        Column("revision", "bigint", "Revision of these desired models.", minimum=0),
        Column("phase", "string", "Where the node is with them.", values=("following", "fetching", "refused")),
        Column("reason", "string", "Why it refuses; empty: it does not."),
        Column("live_name", "string", "Model that serves."),
        Column("live_version", "string", "Its version."),
        Column("live_number", "bigint", "Number of its manifest; 0: the model of the node's own settings.", minimum=0),
        Column("live_digest", "string", "Digest of its manifest; empty: the model of the node's own settings."),
        Column("shadow_name", "string", "Model in the shadow.", nullable=True),
        Column("shadow_version", "string", "Its version.", nullable=True),
        Column("shadow_number", "bigint", "Number of its manifest.", nullable=True, minimum=0),
        Column("shadow_digest", "string", "Digest of its manifest.", nullable=True),
        Column("attestation", "string", "JSON: a signed statement about the node's boot state.", nullable=True),
        Column("public_key", "string", "PEM: key to which keys of sealed parts are encrypted for the node.", nullable=True),
        EVENT_DATE,
    ),
    key=("node_id", "reported_at"),
    retention_days=90,
    may_repeat=True,
)

MODEL_FIGURES = Table(
    Layer.GOLD,
    "model_figures",
    "One row per node, slot, model version and report: what the model did on the node between two reports; a report repeats "
    "only if Kafka delivered it again.",
    (
        _NODE,
        _SITE,
        Column("hardware", "string", "The node's first target."),
        Column("slot", "string", "Whether the model acts or is compared only.", values=("live", "shadow")),
        _MODEL_NAME,
        MODEL_VERSION,
        Column("from_at", "timestamp", "Begin of the report's span, node's clock."),
        _REPORTED,
        Column("frames", "bigint", "Frames that it ran on.", minimum=0),
        Column("errors", "bigint", "Frames on which it failed; they are not among frames.", minimum=0),
        Column("detections", "bigint", "Detections.", minimum=0),
        _SCORES,
        _CLASS_NAMES,
        _CLASS_COUNTS,
        Column("latency_counts", "array<bigint>", "Inferences by their time: bins of rollout.LATENCY_EDGES_MS, and one more."),
        Column("matched", "bigint", "Shadow: detections that both models have.", minimum=0),
        Column("only_live", "bigint", "Shadow: detections of the live model alone.", minimum=0),
        Column("only_shadow", "bigint", "Shadow: detections of the shadow alone.", minimum=0),
        Column("iou_sum", "double", "Shadow: overlaps of the matched, summed.", minimum=0),
        Column("score_gap_sum", "double", "Shadow: differences of the matched's scores, summed.", minimum=0),
        EVENT_DATE,
    ),
    key=("node_id", "slot", "model_name", "model_version", "reported_at"),
    retention_days=90,
    may_repeat=True,
)

MODEL_DETECTIONS = Table(
    Layer.GOLD,
    "model_detections",
    "One row per node, model version, window and micro-batch: what of the model's detections reached the centre. A window's "
    "figures are the sums over its rows.",
    (
        _NODE,
        _MODEL_NAME,
        MODEL_VERSION,
        Column("window_start", "timestamp", "Window into which the first frame of each message falls."),
        Column("window_s", "int", "Length of the window, s.", minimum=1),
        Column("cameras", "array<string>", "Cameras behind the row."),
        Column("frames", "bigint", "Frames received.", minimum=0),
        Column("detections", "bigint", "Detections received.", minimum=0),
        _SCORES,
        _CLASS_NAMES,
        _CLASS_COUNTS,
        Column("source_partition", "int", "Kafka partition of the first message behind the row.", minimum=0),
        Column("source_offset", "bigint", "And its offset.", minimum=0),
        EVENT_DATE,
    ),
    key=("node_id", "model_name", "model_version", "window_start", "source_partition", "source_offset"),
    retention_days=90,
)

MODEL_ROLLOUTS = Table(
    Layer.GOLD,
    "model_rollouts",
    "One row per step of a rollout or comparison: what was decided, and why. The judge goes on from a rollout's rows alone.",
    (
        Column("rollout_id", "string", "Rollout."),
        Column("seq", "bigint", "Number of the step within the rollout.", minimum=0),
        Column("kind", "string", "A rollout replaces the baseline, an A/B comparison ends.", values=("rollout", "ab")),
        _MODEL_NAME,
        Column("version", "string", "Version that is rolled out."),
        Column("baseline", "string", "Version that it is compared with, and that a rollback returns to."),
        Column("decided_at", "timestamp", "When, by the clocks of the nodes that report."),
        Column("step", "string", "What was done."),
        Column("ring", "int", "Ring that the rollout is at, from 0.", minimum=0),
        Column("share", "double", "Share of the fleet in this ring and those before it.", minimum=0, maximum=1),
        Column("reasons", "array<string>", "Why, a sentence each."),
        Column("nodes", "array<string>", "Nodes that the step adds to those that the rollout touches."),
        Column("counts", "string", "JSON: nodes by what they do, and durations in s."),
        Column("metrics", "string", "JSON: the judge's verdict on each metric."),
        Column("actor", "string", "Who asked last for what is wanted of it."),
        EVENT_DATE,
    ),
    key=("rollout_id", "seq"),
    retention_days=3650,
)

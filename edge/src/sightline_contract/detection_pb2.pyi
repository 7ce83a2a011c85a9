from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DetectionBatch(_message.Message):
    __slots__ = ("schema_version", "node_id", "camera_id", "model_name", "model_version", "model_digest", "session", "seq", "captured_us", "frame_width", "frame_height", "frame_rate_mhz", "first_frame", "frames_skipped", "end_of_session", "frame_offset_ms", "detections_per_frame", "boxes", "scores", "classes", "appearance", "appearance_size", "appearance_even", "frame_steps_ms", "frame_counts", "references", "box_changes", "score_changes", "class_changes", "detections_withheld")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_US_FIELD_NUMBER: _ClassVar[int]
    FRAME_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FRAME_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_MHZ_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    END_OF_SESSION_FIELD_NUMBER: _ClassVar[int]
    FRAME_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_PER_FRAME_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    APPEARANCE_FIELD_NUMBER: _ClassVar[int]
    APPEARANCE_SIZE_FIELD_NUMBER: _ClassVar[int]
    APPEARANCE_EVEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_STEPS_MS_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNTS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    BOX_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SCORE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    CLASS_CHANGES_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    node_id: str
    camera_id: str
    model_name: str
    model_version: str
    model_digest: bytes
    session: int
    seq: int
    captured_us: int
    frame_width: int
    frame_height: int
    frame_rate_mhz: int
    first_frame: int
    frames_skipped: int
    end_of_session: bool
    frame_offset_ms: bytes
    detections_per_frame: bytes
    boxes: bytes
    scores: bytes
    classes: bytes
    appearance: bytes
    appearance_size: int
    appearance_even: int
    frame_steps_ms: bytes
    frame_counts: bytes
    references: bytes
    box_changes: bytes
    score_changes: bytes
    class_changes: bytes
    detections_withheld: int
    def __init__(self, schema_version: _Optional[int] = ..., node_id: _Optional[str] = ..., camera_id: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., model_digest: _Optional[bytes] = ..., session: _Optional[int] = ..., seq: _Optional[int] = ..., captured_us: _Optional[int] = ..., frame_width: _Optional[int] = ..., frame_height: _Optional[int] = ..., frame_rate_mhz: _Optional[int] = ..., first_frame: _Optional[int] = ..., frames_skipped: _Optional[int] = ..., end_of_session: _Optional[bool] = ..., frame_offset_ms: _Optional[bytes] = ..., detections_per_frame: _Optional[bytes] = ..., boxes: _Optional[bytes] = ..., scores: _Optional[bytes] = ..., classes: _Optional[bytes] = ..., appearance: _Optional[bytes] = ..., appearance_size: _Optional[int] = ..., appearance_even: _Optional[int] = ..., frame_steps_ms: _Optional[bytes] = ..., frame_counts: _Optional[bytes] = ..., references: _Optional[bytes] = ..., box_changes: _Optional[bytes] = ..., score_changes: _Optional[bytes] = ..., class_changes: _Optional[bytes] = ..., detections_withheld: _Optional[int] = ...) -> None: ...

"""Class ids on the wire and their names.

0 to 79 are COCO's 80 classes in their usual order (Lin et al., "Microsoft COCO", ECCV 2014); 80 to 254 are free for a
site's own classes, named in the model card and in the streaming configuration; 255 means unknown.
"""

from collections.abc import Mapping

COCO_80: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip
UNKNOWN_CLASS = 255


def label_names(site_labels: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """All 256 class names by id; ids without a name read ``class-N``."""
    names = list(COCO_80) + [f"class-{i}" for i in range(len(COCO_80), 256)]
    names[UNKNOWN_CLASS] = "unknown"
    for class_id, name in (site_labels or {}).items():
        names[class_id] = name
    return tuple(names)


def class_ids(names: tuple[str, ...] | list[str], site_labels: Mapping[int, str] | None = None) -> tuple[int, ...]:
    """Class ids of the given names; raises KeyError with the first name that is not a class."""
    index = {name: class_id for class_id, name in enumerate(label_names(site_labels))}
    return tuple(index[name] for name in names)

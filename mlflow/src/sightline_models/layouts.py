"""What an ONNX file takes and gives, told from its tensor shapes where they leave no choice."""

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from sightline_contract.errors import ModelError
from sightline_contract.labels import COCO_80
from sightline_contract.model_card import Decode, Layout, ModelInput, ModelOutput, Resize

YOLOX_STRIDES_PX = (8, 16, 32)


@dataclass(frozen=True)
class Tensor:
    """An input or output: -1 stands for a dimension that is not fixed."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __str__(self) -> str:
        return f"{_listed(self.inputs)} to {_listed(self.outputs)}"


def read_signature(path: Path) -> Signature:
    """Inputs and outputs of the ONNX file ``path``; raises ModelError where it is none."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{path}: is not an ONNX model: give the file that your training tool exported as ONNX") from error
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_tensor(value) for value in model.graph.input if value.name not in weights)
    return Signature(inputs, tuple(_tensor(value) for value in model.graph.output))


def infer_layout(path: Path, signature: Signature) -> tuple[ModelInput, ModelOutput]:
    """How to feed and read a model that follows YOLOX's or CenterNet's convention; raises ModelError for any other."""
    match signature:
        case Signature((Tensor(name, (_, 3, height, width)),), (Tensor(output, (_, anchors, columns)),)) if (
            height > 0 and width > 0 and columns == 5 + len(COCO_80) and anchors in (-1, _yolox_anchors(width, height))
        ):
            return (
                ModelInput(
                    name=name, size=(width, height), layout=Layout.NCHW, channels="BGR", resize=Resize.LETTERBOX_TOP_LEFT
                ),
                ModelOutput(name=output, decode=Decode.YOLOX, nms_iou=0.45),
            )
        case Signature((Tensor(name, (_, height, width, 3)),), (Tensor(output, (_, _, 6)),)) if height > 0 and width > 0:
            return (
                ModelInput(name=name, size=(width, height), layout=Layout.NHWC, channels="RGB", resize=Resize.STRETCH),
                ModelOutput(name=output, decode=Decode.BOXES_SCORE_CLASS),
            )
    raise ModelError(f"{path}: its layout ({signature}) cannot be told from its shapes: describe it with --card card.yaml")


def check_fits(path: Path, signature: Signature, model_input: ModelInput, output: ModelOutput) -> None:
    """Raise ModelError unless the model has the tensors that its card names."""
    for what, name, tensors in (("input", model_input.name, signature.inputs), ("output", output.name, signature.outputs)):
        if name not in {tensor.name for tensor in tensors}:
            raise ModelError(f"{path}: has no {what} {name!r} as its card says, but {_listed(tensors)}: correct the card")


def _yolox_anchors(width: int, height: int) -> int:
    return sum((width // stride) * (height // stride) for stride in YOLOX_STRIDES_PX)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    return Tensor(value.name, tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim))


def _listed(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors) or "none"

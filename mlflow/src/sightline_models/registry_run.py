"""What a registration leaves in MLflow: a run with the model and what is known of it, and the tags of its version."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from sightline_contract.errors import ModelError
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, ModelCard
from sightline_models.evaluation import Evaluation
from sightline_models.layouts import Tensor, read_signature
from sightline_models.registry import (
    DIGEST_TAG,
    EVALUATED_TAG,
    EVALUATION_ARTIFACT,
    LICENCE_TAG,
    MAP50_TAG,
    MAP_TAG,
    MODEL_ARTIFACTS,
    SET_TAG,
)

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

_PARAM_CHARS = 6000  # MLflow refuses longer values
# Metrics have names of these and word characters only.
_METRIC_PUNCTUATION = "-./ "


def tags_of(card: ModelCard, evaluation: Evaluation | None) -> dict[str, str]:
    """Tags of a version: what a list of versions shows without opening each one's run."""
    tags = {DIGEST_TAG: card.digest, LICENCE_TAG: card.licence, EVALUATED_TAG: str(evaluation is not None).lower()}
    if evaluation is not None:
        tags |= {SET_TAG: evaluation.set_name, MAP_TAG: f"{evaluation.map:.6f}", MAP50_TAG: f"{evaluation.map50:.6f}"}
    return tags


def log_run(
    client: "MlflowClient", experiment: str, name: str, folder: Path, card: ModelCard, evaluation: Evaluation | None
) -> str:
    """Log model, card and evaluation as a finished run; returns its id."""
    run = client.create_run(experiment, run_name=name, tags={DIGEST_TAG: card.digest})
    run_id = str(run.info.run_id)
    with tempfile.TemporaryDirectory() as scratch:
        client.log_artifacts(run_id, str(_as_mlflow_model(folder, Path(scratch) / "model")), MODEL_ARTIFACTS)
    for key, value in _params(card):
        client.log_param(run_id, key, value[:_PARAM_CHARS])
    if evaluation is not None:
        log_metrics(client, run_id, evaluation_metrics(evaluation))
        client.log_text(run_id, evaluation.model_dump_json(indent=2), EVALUATION_ARTIFACT)
    client.set_terminated(run_id)
    return run_id


def log_metrics(client: "MlflowClient", run_id: str, metrics: Mapping[str, float]) -> None:
    """Log numbers under names that MLflow takes."""
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(_metric_name(key), float(value), now_ms, 0) for key, value in metrics.items()])


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The figures of an evaluation by the names of their metrics."""
    metrics = {
        "mAP50": evaluation.map50,
        "mAP": evaluation.map,
        "latency_p50_ms": evaluation.latency_p50_ms,
        "latency_p95_ms": evaluation.latency_p95_ms,
    }
    for label, figures in evaluation.by_class.items():
        metrics |= {f"AP50/{label}": figures.ap50, f"AP/{label}": figures.ap}
    return metrics


def _as_mlflow_model(folder: Path, into: Path) -> Path:
    """MLflow's own form of a model folder. Its ONNX file is ours, byte by byte: MLflow would write it anew."""
    import mlflow.onnx

    # Without external data: with it, MLflow takes the weights out of the object that it was given.
    mlflow.onnx.save_model(
        onnx.load(folder / MODEL_FILE),
        str(into),
        signature=_signature(folder / MODEL_FILE),
        pip_requirements=["onnx", "onnxruntime"],  # told, for finding out would run the model in another process
        save_as_external_data=False,
    )
    shutil.copyfile(folder / MODEL_FILE, into / MODEL_FILE)
    shutil.copyfile(folder / CARD_FILE, into / CARD_FILE)
    return into


def _signature(path: Path) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(tensors: tuple[Tensor, ...]) -> Schema:
        # Batch sizes are the runtime's business; detectors take and give float32, as the card says.
        return Schema([TensorSpec(np.dtype("float32"), (-1, *tensor.shape[1:]), tensor.name) for tensor in tensors])

    found = read_signature(path)
    if not all(tensor.shape for tensor in (*found.inputs, *found.outputs)):
        raise ModelError(f"{path}: has a tensor without a shape ({found}): export it with shapes")
    return ModelSignature(inputs=schema(found.inputs), outputs=schema(found.outputs))


def _params(card: ModelCard) -> Iterator[tuple[str, str]]:
    """The card's fields by dotted names."""
    yield from _flat("", card.model_dump(mode="json"))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, each)
    else:
        yield prefix, ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _metric_name(name: str) -> str:
    return "".join(each if each.isalnum() or each == "_" or each in _METRIC_PUNCTUATION else "_" for each in name)

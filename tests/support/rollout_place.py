"""An installation without a judge: a real broker, registry, signer and store; tables as a judge would have written them."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
from bundles import SiteOfModels
from deltalake import write_deltalake
from model_messages import figures, report
from registered_blobs import register_blobs
from sample_tables import as_arrow
from typer.testing import CliRunner, Result

from sightline.broker import Broker
from sightline.models import models_app
from sightline.rollout.plan_topic import read_plans
from sightline.rollout.records import row_of
from sightline_contract.errors import SightlineError
from sightline_contract.rollout import ModelStatus
from sightline_edge.security.authority import Authority, init
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import MODEL_ROLLOUTS, MODEL_STATUS
from sightline_models.registry import Registry
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Step, StepName
from sightline_streaming.archived import Received
from sightline_streaming.config import KafkaConfig
from sightline_streaming.model_reports import sort_reports

CPU = "onnxruntime-any-x86_64-fp32"


class Place:
    """A home folder with its broker, two registered versions, a signer, a clip."""

    def __init__(self, home: Path, broker: Broker) -> None:
        self.home, self.broker = home, broker
        self.kafka = KafkaConfig(bootstrap_servers=broker.bootstrap)
        self.uri = f"sqlite:///{home}/mlflow.db"
        self.site = SiteOfModels(home)
        init(home / "pki", None, datetime.now(UTC))
        Authority(home / "pki", None).issue("release", home, datetime.now(UTC), signer=True)
        register_blobs(Registry(self.uri), home, "blobs", "old", "new")
        Registry(self.uri).promote("blobs", 1, "ada")
        self.clip = write_clip(home / "clip.mp4")

    def run(self, *words: str) -> Result:
        at = ["--home", str(self.home), "--port", str(self.broker.config.port)]
        return CliRunner().invoke(models_app, [*words, *at], env={"COLUMNS": "200"})

    def start(self, *words: str) -> Result:
        release = self.home / "release"
        signed = ["--signer", str(release / "signer.pem"), "--key", str(release / "signer.key"), "--clip", str(self.clip)]
        return self.run(*words, "--model", "blobs", *signed, "--registry", self.uri)

    def plans(self) -> list[RolloutPlan]:
        return list(read_plans(self.kafka).values())

    def hear(self, *statuses: ModelStatus) -> None:
        values = [status.model_dump_json().encode() for status in statuses]
        rows = sort_reports(Received("model_status", 0, n, 0, value) for n, value in enumerate(values)).rows[MODEL_STATUS]
        write_deltalake(str(self.home / "tables" / MODEL_STATUS.path), rows, mode="append")

    def empty(self) -> None:
        """Make the tables anew; whatever was begun before is over."""
        shutil.rmtree(self.home / "tables", ignore_errors=True)
        create_local_tables(str(self.home / "tables"), (MODEL_STATUS, MODEL_ROLLOUTS))
        for plan in self.plans():
            self.record(plan, StepName.STARTED, StepName.ABORTED, StepName.RESTORED)

    def record(self, plan: RolloutPlan, *steps: StepName, nodes: tuple[str, ...] = ()) -> None:
        """What a judge would have written."""
        made = []
        for seq, name in enumerate(steps):
            added = nodes if name is StepName.SERVING else ()
            made.append(Step(plan.rollout_id, seq, plan.started_us + seq, name, 0, (f"because of {name}",), added))
        rows = as_arrow(MODEL_ROLLOUTS, [row_of(plan, step) for step in made])
        write_deltalake(str(self.home / "tables" / MODEL_ROLLOUTS.path), rows, mode="append")


def write_clip(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
        for number in range(20):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[10:18, number : number + 8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def seen(*nodes: str, targets: Sequence[str] = (CPU,)) -> list[ModelStatus]:
    now = figures("1", name="blobs")
    return [report(node, 5, now, targets=tuple(targets), hardware=targets[0]) for node in nodes]


def said(result: Result) -> str:
    assert isinstance(result.exception, SightlineError), result.exception
    return str(result.exception)

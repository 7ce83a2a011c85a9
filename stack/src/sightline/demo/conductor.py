"""Runs the demo: starts the processes, watches them, and puts together what they found.

Broker and Spark start side by side; the node begins when the jobs take input, so that alerts are as quick as they will be;
the video is drawn while gate and marts run. Whatever ends the demo ends its processes, the youngest first.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline import services
from sightline.broker import BrokerConfig
from sightline.cache import models_dir
from sightline.demo.inputs import DemoInput, find_input
from sightline.demo.layout import fresh_layout
from sightline.demo.memory import PeakMemory
from sightline.demo.node_process import follow_node, start_node
from sightline.demo.settings import job_settings, write_camera, write_node
from sightline.demo.stages import Stages
from sightline.driver_process import DriverConfig, DriverProcess
from sightline.jars import GROUPS, fetch_jars, missing_jars
from sightline.java import find_java
from sightline.ports import require_free
from sightline.processes import Child
from sightline.results.annotate import AnnotatedVideo, annotate_video
from sightline.results.reading import read_results
from sightline.results.report import write_report
from sightline.results.summary import Run, Summary, build_summary, write_summary
from sightline.results.terminal import Places
from sightline.services import BrokerService, DriverService, Service
from sightline_lakehouse.marts import project_dir, run_dbt
from sightline_models.pull import pull

_MIB = 1024 * 1024
_DRAIN_TIMEOUT_S = 600.0
_LEFT_UP = "end it ('sightline down' ends a stack that was left up)"


@dataclass(frozen=True)
class DemoOptions:
    """What the command line asked for; ``seconds`` is None for the whole recording."""

    video: str | None
    camera_config: Path | None
    out: Path
    seconds: float | None
    model: str
    keep_running: bool
    broker_port: int
    sql_port: int


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves."""

    summary: Summary
    places: Places


class Demo:
    """One run of the demo."""

    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._stages = Stages(console)
        self._java = find_java()
        # Before the folder is cleared: it may hold the data of a stack that an earlier demo left up.
        require_free(options.broker_port, "the broker", f"{_LEFT_UP}, or choose another port with --port")
        require_free(options.sql_port, "the SQL endpoint", f"{_LEFT_UP}, or choose another port with --sql-port")
        self._layout = fresh_layout(options.out)
        self._services: list[Service] = []
        self._children: list[Child] = []

    def run(self) -> DemoResult:
        """Run it; raises SightlineError, with every process ended."""
        with PeakMemory() as memory, self._stages, ExitStack() as processes:
            model = self._fetch()
            source = self._find_input()
            driver = self._start_stack(source, processes)
            node = self._run_node(source, model, processes)
            with ThreadPoolExecutor(max_workers=1) as pool:
                self._drain(driver)
                drawing = pool.submit(self._draw, source)
                self._check_and_build(driver)
                video = drawing.result()
            if self._options.keep_running:
                services.keep(services.default_home(), self._services, self._children)
                processes.pop_all()
            else:
                with self._stages.stage("stop"):
                    processes.close()
            summary = self._report(source, video, node, memory)
        layout = self._layout
        return DemoResult(summary, Places(layout.tables, layout.summary, layout.report, layout.video))

    def _fetch(self) -> Path:
        """Bring jars and model into the cache; returns the model's folder."""
        missing = sum(len(missing_jars(group)) for group in GROUPS)
        if missing:
            with self._stages.stage("jars", missing) as stage:
                for group in GROUPS:
                    fetch_jars(group, progress=lambda _done, _total: stage.advance())
        with self._stages.stage("model"):
            return pull(self._options.model, models_dir())

    def _find_input(self) -> DemoInput:
        options = self._options
        return find_input(options.video, options.camera_config, options.seconds, self._layout.work, self._stages)

    def _start_stack(self, source: DemoInput, processes: ExitStack) -> DriverProcess:
        work = self._layout.work
        cameras = write_camera(source.camera, work / "cameras").parent
        broker = BrokerService(BrokerConfig(work / "broker", self._options.broker_port))
        job = job_settings(self._layout, cameras, broker.config.bootstrap)
        driver = DriverService(DriverConfig(work / "driver", job, self._options.sql_port))
        self._services = [broker, driver]
        with self._stages.stage("start broker and Spark") as stage:
            self._children = services.launch_all(self._services, tied=not self._options.keep_running)
            for child in self._children:
                processes.callback(child.stop)
            for service, child in zip(self._services, self._children, strict=True):
                stage.say(f"waiting for the {service.name}")
                service.wait_until_ready(child)
        return DriverProcess(driver.config, self._children[-1])

    def _run_node(self, source: DemoInput, model: Path, processes: ExitStack) -> dict[str, Any]:
        """Run the edge node to the end of the recording; returns the summary that it prints."""
        bootstrap = f"127.0.0.1:{self._options.broker_port}"
        config = write_node(self._layout, source, model, bootstrap, self._options.seconds)
        with self._stages.stage("edge: decode and detect") as stage:
            node = start_node(config, self._layout.work / "node.log")
            processes.callback(node.stop)
            return follow_node(node, stage.advance_to)

    def _drain(self, driver: DriverProcess) -> None:
        with self._stages.stage("finish the streaming jobs"):
            driver.drain()
            driver.wait_for("checking", "serving", timeout_s=_DRAIN_TIMEOUT_S)

    def _check_and_build(self, driver: DriverProcess) -> None:
        with self._stages.stage("quality gate"):
            driver.wait_for("serving", timeout_s=_DRAIN_TIMEOUT_S)
        dbt = self._layout.work / "dbt"
        with self._stages.stage("dbt marts"):
            run_dbt(project_dir(), driver.remote, str(self._layout.tables), dbt / "target", dbt / "logs")

    def _draw(self, source: DemoInput) -> AnnotatedVideo:
        layout = self._layout
        results = read_results(layout.tables, source.camera.camera_id)
        limit = source.frames_within(self._options.seconds)
        with self._stages.stage("annotated video", limit) as stage:
            return annotate_video(
                source.source,
                layout.video,
                results,
                source.camera,
                source.start_us,
                limit_frames=limit,
                progress=stage.advance_to,
            )

    def _report(self, source: DemoInput, video: AnnotatedVideo, node: dict[str, Any], memory: PeakMemory) -> Summary:
        layout = self._layout
        results = read_results(layout.tables, source.camera.camera_id)
        with self._stages.stage("report"):
            run = Run(
                clip=source.label,
                stages=self._stages.times,
                total_s=self._stages.elapsed_s,
                peak_memory_mb=memory.peak_bytes / _MIB,
                node=node,
                versions={"Java": str(self._java.version)},
            )
            summary = build_summary(results, run)
            write_report(layout.report, results, summary, source.camera, source.start_us, video)
        # Told once more, now with the report's own seconds.
        run = replace(run, stages=self._stages.times, total_s=self._stages.elapsed_s)
        summary = build_summary(results, run)
        write_summary(layout.summary, summary)
        return summary

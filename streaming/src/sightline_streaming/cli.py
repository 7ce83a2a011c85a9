"""What a job script and the one-machine stack run: options, signals, one line for an error.

SIGTERM and SIGINT end the driver at once (nothing is lost: an unfinished micro-batch is done again). SIGUSR1 drains it
first, for input that has ended. ``--drain`` does so from the start: take all that is there, then end.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from sightline_contract.errors import ConfigError, SightlineError
from sightline_streaming.config import load_job_config


def main(jobs: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Run ``jobs`` until told to end; returns the exit code."""
    options = _parser(jobs).parse_args(arguments)
    return _code_of(lambda: _run(list(jobs) or options.jobs.split(","), options), options.debug)


def rescale_main(arguments: Sequence[str] | None = None) -> int:
    """Take the tracking job's checkpoint to other numbers of shards and state partitions; returns the exit code."""
    options = _rescale_parser().parse_args(arguments)

    def run() -> None:
        from sightline_streaming import rescale

        print(rescale.run(options.config, options.set, options.shards, options.shuffle_partitions))

    return _code_of(run, options.debug)


def _code_of(work: Callable[[], None], debug: bool) -> int:
    """The exit code of ``work``, whose error is told in one line."""
    try:
        work()
    except SightlineError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _run(jobs: list[str], options: argparse.Namespace) -> None:
    # Imported after the options were read: a wrong one is told without waiting for Spark.
    from sightline_streaming.application import Application
    from sightline_streaming.long_running import keep_freed_memory
    from sightline_streaming.status import State, StatusFile

    keep_freed_memory()
    status = StatusFile(options.status, options.progress)
    status.write(State.STARTING)
    asked = _Asked()
    try:
        if options.drain and "alerts" in jobs:
            raise ConfigError("--drain: the alerts job never comes to the end of its input: leave it out")
        config = load_job_config(options.config, os.environ, options.set)
        application = Application(config, jobs, master=options.master, jars=_class_path(options.jars))
        application.on_last_progress = status.take
        with application:
            asked.listen()
            if not options.drain:
                application.start()
                application.await_ready()
                application.await_any_failure(lambda: status.tell(State.READY, application, asked.to_end))
            if options.drain or asked.to_drain:
                application.drain(lambda: status.tell(State.DRAINING, application, asked.to_stop))
    except SightlineError as error:
        status.write(State.FAILED, error=str(error))
        raise
    status.write(State.STOPPED)


class _Asked:
    """What signals asked for. PySpark sets a handler of its own for SIGINT when it starts, hence listen() afterwards."""

    def __init__(self) -> None:
        self.to_drain = False
        self.to_stop = False

    @property
    def to_end(self) -> bool:
        return self.to_drain or self.to_stop

    def listen(self) -> None:
        def stop(*_: object) -> None:
            self.to_stop = True

        def drain(*_: object) -> None:
            self.to_drain = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGUSR1, drain)


def _class_path(text: str) -> list[Path]:
    return [Path(part) for part in text.split(os.pathsep) if part]


def _parser(jobs: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"Sightline streaming: {', '.join(jobs) or 'several jobs in one driver'}.")
    _add_configuration(parser)
    parser.add_argument("--drain", action="store_true", help="take all input that is there, then end")
    parser.add_argument("--status", type=Path, metavar="FILE", help="keep a JSON status file")
    parser.add_argument("--progress", type=Path, metavar="FILE", help="append a JSON line for every micro-batch")
    parser.add_argument("--master", metavar="URL", help="start Spark here instead of under spark-submit, for instance local[4]")
    parser.add_argument("--jars", default="", metavar="PATHS", help="with --master: Spark's jars, as a class path")
    if not jobs:
        parser.add_argument("--jobs", required=True, metavar="NAMES", help="comma-separated: tracking,facts,alerts,…")
    return parser


def _rescale_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Sightline streaming: more or fewer shards for the tracking job.")
    _add_configuration(parser)
    parser.add_argument("--shards", type=int, metavar="N", help="default: the configuration's")
    parser.add_argument("--shuffle-partitions", type=int, metavar="N", help="default: the configuration's")
    return parser


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="job configuration (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="stands above the file, repeatable")
    parser.add_argument("--debug", action="store_true", help="show the stack trace of an error")


if __name__ == "__main__":
    sys.exit(main(()))

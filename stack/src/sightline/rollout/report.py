"""The report of an A/B comparison: both versions in the same windows, as a table and a plot per metric."""

import os
from pathlib import Path
from typing import Final

from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.rollout.answers import Windows
from sightline.rollout.asking import look_at
from sightline.rollout.installation import Installation
from sightline.rollout.view import Look
from sightline_contract.errors import ConfigError
from sightline_models.rollout.comparison import compare, plot, table
from sightline_models.rollout.steps import Answer, Question, StepName

_US: Final = 1_000_000
_BEFORE_US: Final = 24 * 3600 * _US


def write_report(installation: Installation, rollout_id: str, out: Path) -> list[Path]:
    """Write ``comparison.md`` and the plots into ``out``; raises ConfigError where there is nothing to compare yet."""
    look = look_at(installation, rollout_id)
    answer = _windows(installation, look)
    names = (f"{look.plan.model_name} {look.plan.baseline_version}", f"{look.plan.model_name} {look.plan.version}")
    rows = compare(answer.arms, answer.before)
    if not rows:
        raise ConfigError(f"{rollout_id}: no window of {look.plan.rules.window:.0f} s has reports of both versions yet: wait")
    out.mkdir(parents=True, exist_ok=True)
    text = out / "comparison.md"
    text.write_text(f"# {names[0]} and {names[1]}\n\n{table(rows, names)}\n", encoding="utf-8")
    return [text, *plot(answer.arms, out, names, answer.before)]


def question_of(look: Look, everyone: frozenset[str]) -> tuple[Question, int]:
    """Which windows are compared, and until when; ``everyone``: all nodes that served the baseline. Raises ConfigError."""
    serving = next((step for step in look.steps if step.name is StepName.SERVING), None)
    if serving is None:
        raise ConfigError(f"{look.plan.rollout_id}: serves no second version yet: see 'sightline models rollout status'")
    ended = (step.at_us for step in look.steps if step.name in (StepName.COMPARED, StepName.ROLLED_BACK, StepName.ABORTED))
    until_us = next(ended, max((status.reported_us for status in look.statuses.values()), default=0))
    canary = frozenset(serving.nodes)
    question = Question(False, canary, everyone - canary, serving.at_us, serving.at_us - _BEFORE_US)
    return question, until_us


def _windows(installation: Installation, look: Look) -> Answer:
    from sightline_streaming.session import build_session

    os.environ["JAVA_HOME"] = str(find_java().home)
    root = installation.config.table_root
    spark = build_session("sightline-report", installation.config, "local[2]", fetch_jars("spark"))
    try:
        question, until_us = question_of(look, frozenset(look.statuses))
        # Past what the plan calls silent, every window until then is closed.
        now_us = until_us + round(look.plan.rules.silent_after * _US)
        return Windows(spark, root).answer(look.plan, question, now_us, {})
    finally:
        spark.stop()

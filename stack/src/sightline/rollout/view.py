"""What ``sightline models rollout status`` shows: rings, nodes, figures, and why. From plans, rows and reports alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sightline_contract.rollout import ModelStatus
from sightline_models.judge.verdict import MetricVerdict, Verdict
from sightline_models.rollout.keys import NodeKeys, waiting
from sightline_models.rollout.plan import Kind, RolloutPlan
from sightline_models.rollout.state import State, fold
from sightline_models.rollout.steps import Step, StepName

_VERDICT: Final = TypeAdapter(Verdict)
_COLOURS: Final = {StepName.COMPLETED: "green", StepName.ROLLED_BACK: "red", StepName.ABORTED: "red", StepName.PAUSED: "yellow"}
_LAST_STEPS: Final = 12
# Looks take seconds, and each is told; the first of a judge on a busy machine took 24.
_SILENT_S: Final = 120.0


@dataclass(frozen=True)
class Look:
    """All that is known of a rollout."""

    plan: RolloutPlan
    steps: Sequence[Step]
    statuses: Mapping[str, ModelStatus]
    judge: Mapping[str, Any]  # what the judge told of itself
    keys: Mapping[str, NodeKeys] = field(default_factory=dict)  # of sealed parts, by node

    @property
    def state(self) -> State:
        """What the steps add up to."""
        return fold(self.steps)

    @property
    def verdict(self) -> Verdict | None:
        """The judge's newest, or that of the newest step that had figures."""
        if self.judge.get("rollout_id") == self.plan.rollout_id and self.judge.get("verdict"):
            return _VERDICT.validate_python(self.judge["verdict"])
        return None

    @property
    def metrics(self) -> Sequence[MetricVerdict]:
        """Figures of the newest verdict, or of the newest step that has some."""
        if self.verdict is not None:
            return self.verdict.metrics
        return next((step.metrics for step in reversed(self.steps) if step.metrics), ())


def describe(look: Look) -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [_headline(look), _rings(look), _nodes(look), *map(Text, _key_lines(look))]
    if look.metrics:
        parts.append(_metrics(look.metrics))
    if (verdict := look.verdict) is not None and not look.state.over:
        parts.append(Text(f"judge: {verdict.decision.value}", style="bold"))
        parts += [Text(f"  {reason}") for reason in verdict.reasons]
    parts += [_steps(look.steps), Text(_judge_line(look.judge))]
    return Group(*parts)


def list_rollouts(plans: Sequence[RolloutPlan], states: Mapping[str, State]) -> Table:
    """One row per rollout, the newest last."""
    table = Table("rollout", "kind", "model", "from", "to", "state", "ring", "by", "began (UTC)")
    for plan in plans:
        state = states[plan.rollout_id]
        ring = f"{plan.rings[min(state.ring, len(plan.rings) - 1)]:.0%}" if state.at else ""
        about = (plan.rollout_id, plan.kind.value, plan.model_name, plan.baseline_version, plan.version)
        table.add_row(*about, state_name(plan, state), ring, plan.actor, _time(plan.started_us))
    return table


def state_name(plan: RolloutPlan, state: State) -> str:
    """Where a rollout is, in a word or two."""
    if state.at is None:
        return "waits for the judge"
    if state.paused_by and not state.over:
        return f"paused by the {state.paused_by}, {state.at.value}"
    return state.at.value if plan.kind is Kind.ROLLOUT or state.at is not StepName.OBSERVING else "comparing"


def _headline(look: Look) -> Text:
    plan, name = look.plan, state_name(look.plan, look.state)
    kind = "comparison" if plan.kind is Kind.AB else "rollout"
    text = f"{kind} {plan.rollout_id}: {plan.model_name} {plan.baseline_version} -> {plan.version}, {name}"
    return Text(text, style=f"bold {_COLOURS.get(look.state.at or StepName.STARTED, '')}")


def _rings(look: Look) -> Table:
    table = Table("ring", "share", "nodes", "serve it", "state")
    state = look.state
    told: dict[int, set[str]] = {}
    for step in look.steps:
        is_candidate = not {"baseline", "back"} & step.counts.keys()
        if step.name in (StepName.SHADOWING, StepName.SERVING, StepName.JOINED) and is_candidate:
            told.setdefault(step.ring, set()).update(step.nodes)
    for ring, share in enumerate(look.plan.rings):
        nodes = told.get(ring, set())
        serving = sum(_serves(look, node) for node in nodes)
        where = "waiting" if ring > state.ring or state.at is None else "passed"
        if ring == state.ring and state.at is not None:
            where = state_name(look.plan, state)
        table.add_row(str(ring + 1), f"{share:.0%}", str(len(nodes)), str(serving), where)
    return table


def _serves(look: Look, node: str) -> bool:
    status = look.statuses.get(node)
    return status is not None and status.live.model_version == look.plan.version


def _nodes(look: Look) -> Table:
    table = Table("nodes", "serve", "shadow", "phase", "why")
    groups: Counter[tuple[str, str, str, str]] = Counter()
    for status in look.statuses.values():
        shadow = f"{status.shadow.model_name} {status.shadow.model_version}" if status.shadow else ""
        live = f"{status.live.model_name} {status.live.model_version}"
        groups[live, shadow, status.phase.value, status.reason] += 1
    for group, count in groups.most_common():
        table.add_row(str(count), *group)
    return table


def _key_lines(look: Look) -> list[str]:
    """Who can't open the sealed parts of the plan, and what to do."""
    if not look.plan.sealed:
        return []
    lines = []
    if wait := len(waiting(look.plan, look.statuses.values(), look.keys)):
        lines.append(f"keys: {wait} nodes wait for theirs: sightline models rollout keys --keys FOLDER")
    if mute := sum(status.public_key is None for status in look.statuses.values()):
        lines.append(f"keys: {mute} nodes announce no public key: set models.key there")
    return lines


def _metrics(metrics: Sequence[MetricVerdict]) -> Table:
    table = Table("figure", "canary", "control", "effect", "interval", "margin", "windows", "bad", "evidence", "says")
    for each in metrics:
        interval = "" if each.low is None or each.high is None else f"{each.low:.3g} to {each.high:.3g}"
        numbers = (_number(each.canary), _number(each.control), _number(each.effect), interval, f"{each.margin:.3g}")
        counts = (str(each.windows), str(each.bad_windows), _number(each.evidence))
        table.add_row(each.name, *numbers, *counts, each.decision.value)
    return table


def _steps(steps: Sequence[Step]) -> Table:
    table = Table("time (UTC)", "step", "ring", "nodes", "why")
    for step in steps[-_LAST_STEPS:]:
        added = str(len(step.nodes)) if step.nodes else ""
        table.add_row(_time(step.at_us), step.name.value, str(step.ring + 1), added, "\n".join(step.reasons))
    return table


def _judge_line(judge: Mapping[str, Any]) -> str:
    state = judge.get("state", "never ran here")
    if state != "ready":
        return f"judge: {state} {judge.get('error', '')}".rstrip()
    looks = judge.get("look_ms") or [0]
    told_s_ago = judge.get("told_s_ago", 0.0)
    if told_s_ago > _SILENT_S:
        return f"judge: silent for {told_s_ago:.0f} s: it was killed or hangs: see its log, start it again"
    heard_s_ago = judge["heard_s_ago"] + told_s_ago
    line = f"judge: runs, {judge['nodes']} nodes, last report {heard_s_ago:.0f} s ago, last look {looks[-1]:.0f} ms"
    if judge.get("waiting"):
        line += f"; {judge['waiting']} actions wait ({judge.get('registry_error') or judge.get('error') or 'for the registry'})"
    return line


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")

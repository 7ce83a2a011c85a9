"""What the registry and the audit log are told when a row was recorded. The same row asks for the same things."""

from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Action, Alias, Audit, Step, StepName, Tag

_BY_PEOPLE = frozenset({StepName.STARTED, StepName.ABORTED})


def consequences(plan: RolloutPlan, step: Step) -> tuple[Action, ...]:
    """Actions that follow a row, other than those that tell nodes."""
    name = plan.model_name
    actions: list[Action] = []
    if step.name is StepName.SERVING and step.ring == 0:
        actions.append(Alias(name, "canary", plan.version))
    if step.name is StepName.COMPLETED:
        actions += [
            Alias(name, "previous", plan.baseline_version),
            Alias(name, "champion", plan.version),
            Alias(name, "canary", None),
        ]
    if step.name in (StepName.ROLLED_BACK, StepName.ABORTED, StepName.COMPARED):
        actions.append(Alias(name, "canary", None))
    if step.name is not StepName.JOINED:
        actions.append(Tag(name, plan.version, "rollout", f"{step.name} {plan.rollout_id} ring {plan.rings[step.ring]:.0%}"))
    actions.append(_audit(plan, step))
    return tuple(actions)


def _audit(plan: RolloutPlan, step: Step) -> Audit:
    by_person = step.name in _BY_PEOPLE or bool(step.counts.get("by_person"))
    details: dict[str, str | int | float] = {
        "rollout_id": plan.rollout_id,
        "model": f"{plan.model_name} {plan.version}",
        "baseline": plan.baseline_version,
        "ring": plan.rings[step.ring],
        "nodes": len(step.nodes),
        **step.counts,
    }
    return Audit(
        record_id=f"{plan.rollout_id}:{step.seq}",
        kind=f"rollout_{step.name}",
        actor=plan.actor if by_person else "judge",
        reason="; ".join(step.reasons),
        at_us=step.at_us,
        details=details,
    )

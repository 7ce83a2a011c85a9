"""Five hundred nodes, four bad versions and a good one, while nodes lose their links and their power."""

from pathlib import Path

import pytest

from sightline.bench.fleet import TRIALS, run_trials
from sightline_models.rollout.steps import StepName

pytestmark = [pytest.mark.kafka, pytest.mark.spark, pytest.mark.slow, pytest.mark.faults]

NODES = 500


@pytest.mark.timeout(3600)
def test_bad_versions_touch_a_twentieth_of_the_fleet_at_most_and_a_good_one_reaches_all_of_it(tmp_path: Path) -> None:
    result = run_trials(tmp_path, NODES)
    for trial, outcome in zip(TRIALS, result.outcomes, strict=True):
        assert outcome.end is trial.end, (str(trial), outcome.end, outcome.reasons)
        if trial.end is StepName.RESTORED:
            assert outcome.served <= NODES * 0.05, str(trial)
            print(f"{trial}: detected after {outcome.detect_h} h, restored after {outcome.restore_h} h: {outcome.reasons[0]}")
    assert result.unserved_frames == 0, "no node is without a model, ever"
    assert result.left_alone, "a node without a link keeps what it has"
    assert result.caught_up, "nodes that were away serve the champion"

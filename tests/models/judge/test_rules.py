"""The file behind --judge."""

from pathlib import Path

import pytest
import yaml

from sightline_contract.errors import ConfigError
from sightline_contract.settings import load_settings
from sightline_models.judge.rules import Rules, parse_duration


def test_durations_are_text_with_a_unit_or_seconds() -> None:
    texts = ("90s", "10m", "24h", "2d", "1.5h", 30)
    assert [parse_duration(text) for text in texts] == [90, 600, 86400, 172800, 5400, 30]


def test_a_rules_file_changes_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("observe: 12h\nmargins: {latency_p95_ratio: 1.1}\n")
    rules = load_settings(path, Rules)
    assert rules.observe == 43200
    assert rules.margins.latency_p95_ratio == 1.1
    assert rules.margins.score_psi == Rules().margins.score_psi


@pytest.mark.parametrize("text", ["observe: soon", "alpha: 2", "margins: {psi: 0.1}", "observe: 1m", "window: 0s"])
def test_a_wrong_rule_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, Rules)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_rules_survive_the_plan_that_carries_them() -> None:
    assert Rules.model_validate_json(Rules(observe="6h").model_dump_json()) == Rules(observe="6h")


def test_the_document_names_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rollout.md").read_text(encoding="utf-8")
    block = text.split("```yaml")[1].split("```")[0]
    assert Rules.model_validate(yaml.safe_load(block)) == Rules()
    documented = yaml.safe_load(block)
    assert documented.keys() == Rules.model_fields.keys()
    for part in ("margins", "shadow"):
        assert (
            documented[part].keys()
            == getattr(Rules(), part).model_fields_set | type(getattr(Rules(), part)).model_fields.keys()
        )

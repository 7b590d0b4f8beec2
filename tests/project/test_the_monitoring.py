"""Rules, dashboard and documents name the metrics that the program exports; every alert has its page."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.domain.incidents.kinds import KINDS
from app.domain.installation import MAX_BACKUP_AGE, MAX_RETAINED_BYTES
from app.settings import Settings
from dev.pages.metrics import PREFIX, exported, registry

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
TARGET_LABELS = {"job", "instance", "role", "environment", "le"}
# interface §12
PROMISED = """
    events_received_total{result} events_rejected_total{reason} events_settled_total{status}
    waiting_events{status}
    oldest_waiting_age_seconds{status} attempts_total{outcome}
    request_duration_seconds
    http_request_duration_seconds lane_rate_limit breaker_open token_expiry_seconds flush_duration_seconds
    claim_duration_seconds requests_shed_total{reason} event_count_imbalance build_info
    """


EXPORTED = {name: set(labels) for name, (labels, _) in exported(registry()).items()}
ALERTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
RECORDED = {rule["record"] for rule in RULES}


def dashboard_queries() -> Iterator[str]:
    """Yield the queries of all panels of all dashboards."""
    for path in sorted((ROOT / "deploy" / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))


def runbook_queries() -> Iterator[str]:
    """Yield the queries of all runbooks."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        yield from re.findall(r"`([^`\n]*amazon_conversions_\w[^`\n]*)`", page.read_text())


def queries() -> list[str]:
    """Return every query that is shipped."""
    return [*(rule["expr"] for rule in [*RULES, *ALERTS]), *dashboard_queries(), *runbook_queries()]


def problems_of(query: str) -> list[str]:
    """Return the names and labels of a query that are not exported."""
    found = []
    for name, _, matchers in re.findall(r"(amazon_conversions[a-z0-9_:]*)(\{([^}]*)\})?", query):
        if ":" in name:
            found += [] if name in RECORDED else [name]
        elif name not in EXPORTED:
            found.append(name)
        else:
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers))
            found += sorted(used - EXPORTED[name] - TARGET_LABELS)
    known = set().union(*EXPORTED.values()) | TARGET_LABELS
    grouped = {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(",")
    }
    return found + sorted(grouped - known)


@pytest.mark.parametrize("query", queries())
def test_a_query_uses_what_is_exported(query: str) -> None:
    """A renamed metric would make an alert silent and a panel empty."""
    assert "amazon_conversions" in query or "process_" in query or "up{" in query
    assert problems_of(query) == []


def test_each_environment_is_judged_by_itself() -> None:
    """Else two installations in one Prometheus are added together."""
    for rule in (*RULES, *ALERTS):
        for aggregation in re.findall(r"\b(?:sum|max|min|avg|count)\b *(?:by \(([^)]*)\))?", rule["expr"]):
            assert "environment" in aggregation, rule
    routing = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert "environment" in routing["route"]["group_by"]
    assert all(rule["equal"] == ["environment"] for rule in routing["inhibit_rules"])


def test_the_chart_gives_the_labels_that_the_alerts_use() -> None:
    """A PodMonitor alone makes another `job`, for which `ProcessDown` never fires."""
    [scrape] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    monitor = (ROOT / "deploy/helm/templates/podmonitor.yaml").read_text()
    given = set(re.findall(r"targetLabel: (\w+), replacement: ([\w-]+)", monitor))
    roles = {("role", targets["labels"]["role"]) for targets in scrape["static_configs"]}
    assert given == {("job", scrape["job_name"]), *roles}
    assert "targetLabel: environment" in monitor


def durations_of_settings() -> set[float]:
    """Return the defaults and bounds of all settings that are durations, in seconds, and a day less."""
    units = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
    found: set[float] = set()
    for name, field in Settings.model_fields.items():
        seconds = units.get(name.rpartition("_")[2])
        if seconds is None:
            continue
        numbers = [field.default, *(getattr(rule, "le", None) for rule in field.metadata)]
        found |= {number * seconds for number in numbers if isinstance(number, int)}
    return found | {seconds - 86_400 for seconds in found}


def numbers_of(query: str) -> set[float]:
    """Return the numbers of a query, products included; not those of windows and label values."""
    text = re.sub(r"\[[^]]*\]|\"[^\"]*\"|[A-Za-z_:][\w:]*", " ", query)
    factors = [product.split("*") for product in re.findall(r"[\d.]+(?:\s*\*\s*[\d.]+)*", text)]
    return {math.prod(float(factor) for factor in product) for product in factors}


@pytest.mark.parametrize("rule", [*RULES, *ALERTS], ids=lambda rule: rule.get("alert") or rule["record"])
def test_no_rule_contains_the_number_of_a_setting(rule: dict[str, Any]) -> None:
    """An operator changes the setting, and the alert never fires: export the setting as a gauge instead."""
    long = {seconds for seconds in durations_of_settings() if seconds > 86_400}
    assert not numbers_of(rule["expr"]) & long


def test_an_alert_of_backups_has_the_limit_of_doctor() -> None:
    """Else one of the two reports what the other one accepts."""
    numbers = {rule["alert"]: numbers_of(rule["expr"]) for rule in ALERTS}
    assert numbers["BackupTooOld"] == {MAX_BACKUP_AGE.total_seconds()}
    assert numbers["SlotRetainsWal"] == {MAX_RETAINED_BYTES}


WORDS = ("result", "reason", "status", "outcome", "kind", "class")


def test_a_query_names_label_values_that_are_written() -> None:
    """A renamed result or outcome would make an alert silent, too."""
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    values = {
        value
        for query in queries()
        for label, text in re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', query)
        for value in text.split("|")
        if label in WORDS and "." not in value
    }
    assert {"dead", "parked", "throttled", "unreachable"} <= values
    assert [value for value in sorted(values) if f'"{value}"' not in source] == []


@pytest.mark.parametrize("promised", PROMISED.split())
def test_a_promised_metric_is_exported_with_its_label(promised: str) -> None:
    """Dashboards of others rely on these names."""
    name, _, label = promised.rstrip("}").partition("{")
    names = [PREFIX + name, f"{PREFIX}{name}_bucket"]
    assert not label or label in next(EXPORTED[each] for each in names if each in EXPORTED)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_page_with_meaning_check_and_fix(alert: dict[str, Any]) -> None:
    """The page is in the index."""
    address = alert["annotations"]["runbook_url"]
    # The configuration of Prometheus has the address of the pages.
    assert address.startswith("{{ $externalLabels.runbooks }}/")
    page = RUNBOOKS / Path(address).name
    assert re.findall(r"(?m)^## (.+)$", page.read_text()) == ["Meaning", "Check", "Fix"]
    assert f"[`{alert['alert']}`]({page.name})" in (RUNBOOKS / "README.md").read_text()
    assert alert["labels"]["severity"] in {"critical", "warning"}


def alerts_of_tests(*, firing: bool) -> set[str]:
    """Return the alerts of which a promtool test expects that they fire, or are silent."""
    return {
        rule["alertname"]
        for path in PROMETHEUS.glob("*.test.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for rule in test["alert_rule_test"]
        if bool(rule["exp_alerts"]) is firing
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_test_that_fires_and_one_that_is_silent(alert: dict[str, Any]) -> None:
    """A rule that always fires, or never, is noticed before it is shipped."""
    assert alert["alert"] in alerts_of_tests(firing=True)
    assert alert["alert"] in alerts_of_tests(firing=False)


# Ratios: the share of the first occurrence does not matter, or the label has values of the framework.
SHARES = {PREFIX + "http_requests_total", PREFIX + "attempts_total"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_sees_the_first_occurrence(alert: dict[str, Any]) -> None:
    """Prometheus sees no increase in a series that begins at 1: counters are exported as 0 from the start."""
    samples = [sample for family in registry().collect() for sample in family.samples]
    for name, _, matchers in re.findall(r"(amazon_conversions_\w+_total)(\{([^}]*)\})?\[", alert["expr"]):
        wanted = [
            (label, value)
            for label, text in re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', matchers)
            for value in text.split("|")
        ]
        if name in SHARES:
            continue
        own = [sample.labels for sample in samples if sample.name == name]
        assert own, name
        for label, value in wanted:
            assert value in {labels.get(label) for labels in own}, (name, label, value)


def incident_pages() -> dict[str, str]:
    """Return the page of each kind of incident, by the table in docs/incidents.md."""
    text = (ROOT / "docs" / "incidents.md").read_text()
    return dict(re.findall(r"(?m)^\| \[`([a-z_]+)`\]\(runbooks/([a-z-]+\.md)\) \|", text))


@pytest.mark.parametrize("kind", incident_pages())
def test_a_kind_of_incident_has_a_page_with_meaning_check_and_fix(kind: str) -> None:
    """A message names the kind; its page names the kind, too."""
    text = (RUNBOOKS / incident_pages()[kind]).read_text()
    assert re.findall(r"(?m)^## (.+)$", text) == ["Meaning", "Check", "Fix"]
    assert f"`{kind}`" in text.partition("## Meaning")[0]


def test_no_kind_of_incident_is_forgotten() -> None:
    """The program's kinds are those of the index."""
    assert {kind.value for kind in KINDS} == set(incident_pages())


def test_no_page_is_left_without_an_alert_or_an_incident() -> None:
    """A removed alert is removed from the documents, too."""
    used = {Path(alert["annotations"]["runbook_url"]).name for alert in ALERTS}
    assert {path.name for path in RUNBOOKS.glob("*.md")} == used | set(incident_pages().values()) | {
        "README.md"
    }


def test_runbooks_name_log_events_that_exist() -> None:
    """An operator who searches for a log event finds the one that is written."""
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    for page in RUNBOOKS.glob("*.md"):
        for words in re.findall(r"[Ll]og events? ((?:`[a-z_.]+`(?:, | and )?)+)", page.read_text()):
            for event in re.findall(r"`([a-z_]+\.[a-z_]+)`", words):
                assert f'"{event}"' in source, (page.name, event)


@pytest.mark.process
@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (.ci/run installs it)"
)
def test_promtool_accepts_rules_queries_and_tests(tmp_path: Path) -> None:
    """Each alert fires on its fault, none on a quiet day; the queries of the runbooks are PromQL."""
    written = [{"record": f"runbook:query_{n}", "expr": query} for n, query in enumerate(runbook_queries())]
    (tmp_path / "runbooks.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "runbooks", "rules": written}]})
    )
    for words in (
        ["check", "rules", str(tmp_path / "runbooks.yml")],
        ["check", "rules", "rules.yml", "alerts.yml"],
        ["test", "rules", "alerts.test.yml", "objectives.test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

"""Learning: what an upstream's JSON answer tells of an account's subjects.

What cannot be kept (long texts, objects, odd ids) is left out, and the rest is taken.
"""

from typing import Any

from gateway.admission import json_fields
from gateway.admission.subjects import is_subject_id
from gateway.catalog.routes import Learn
from gateway.records.subjects import FACTS_MAX, Fact, is_fact

SUBJECTS_MAX = 1_000
"""Of one answer."""


def told(answer: bytes, rule: Learn) -> dict[str, dict[str, Fact]]:
    """Id → facts, of all whom the answer tells of; nothing if it is not what was expected."""
    document = json_fields.told(answer)
    items = [document] if rule.listed is None else json_fields.find(document, rule.listed)
    if not isinstance(items, list):
        return {}
    found: dict[str, dict[str, Fact]] = {}
    for item in items[:SUBJECTS_MAX]:
        name = _said(json_fields.find(item, rule.id))
        if isinstance(name, str) and is_subject_id(name):
            found[name] = _facts(item, rule)
    return found


def _facts(item: Any, rule: Learn) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for name, member in rule.facts.items():
        fact = _said(json_fields.find(item, member))
        if fact is not None and is_fact(name, fact) and len(facts) < FACTS_MAX:
            facts[name] = fact
    return facts


def _said(value: Any) -> Fact | None:
    """Whole numbers are kept as they are written."""
    if isinstance(value, str | bool):
        return value
    return str(value) if isinstance(value, int) and abs(value) < 2**63 else None

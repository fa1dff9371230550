"""The rules and KPIs that the documentation shows can be used as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from subscribers.kpi.role import kpi_role
from subscribers.rules.role import rules_role
from subscribers.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-rules-and-kpis.md"


def put(directory: Path, word: str) -> int:
    """Write the page's examples that begin with a word into files; return how many there are."""
    shown = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    chosen = [text for text in shown if text.startswith(word)]
    for number, text in enumerate(chosen):
        (directory / f"{number}.yaml").write_text(text)
    return len(chosen)


def test_the_rules_that_are_shown_can_be_used(tmp_path: Path) -> None:
    shown = put(tmp_path, "rule:")

    role = rules_role(Settings(rules_dirs=(tmp_path,), packaged=False))

    assert len(role.bindings) == shown == 1


def test_the_kpis_that_are_shown_can_be_used(tmp_path: Path) -> None:
    shown = put(tmp_path, "kpi:")

    role = kpi_role(Settings(kpi_dirs=(tmp_path,), packaged=False))

    assert len(role.bindings) == shown == 2

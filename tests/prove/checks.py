"""All promises that a history is held against."""

from __future__ import annotations

from tests.prove import (
    checks_answers,
    checks_documents,
    checks_events,
    checks_lots,
    checks_orders,
    checks_stock,
    checks_streams,
)
from tests.prove.checking import Check, Evidence
from tests.prove.history import History


def judge(history: History) -> list[Check]:
    """Every check with what it looked at and what it found."""
    evidence = Evidence(history)
    quiet = Check("all goes quiet in the end")
    quiet.that(not history.end.quiet, history.end.quiet)
    modules = (
        checks_answers, checks_stock, checks_documents, checks_lots, checks_orders, checks_events, checks_streams,
    )  # fmt: skip
    every = [check for module in modules for check in module.ALL]
    return [*(check(evidence) for check in every), quiet]

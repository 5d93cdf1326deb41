"""What a checklist asks of the backbone's earlier skills: that the bound of the loss lies within the plan's half a point."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_eval.errors import DataError

from fusion_report.checks import Check, at_least, check
from fusion_report.groups import Group
from fusion_report.results import Run
from fusion_report.table import empty
from fusion_report.tables.retention import POINTS, Found, changes, places_of

LARGEST_LOSS = -0.5  # points
THRESHOLD = f"bound ≥ {LARGEST_LOSS:+.1f} points, or identical"
LLAVA = "llava"


def retention_checks(group: Group, llava: bool) -> list[Check]:
    """Return a check a condition, against the backbone before anything was trained; none where nothing was asked.

    Args:
        group: the runs.
        llava: whether the plan's own probe is meant, or what stands in for it.
    """
    pairs = []
    for run in group.runs:
        try:
            retention = run.retention()
        except DataError:
            continue
        if retention.probe.startswith(LLAVA) == llava:
            pairs.append((run, retention))
    return [
        change_check(
            group,
            changes(pairs, condition),
            f"Δ accuracy of {group.label} on {pairs[0][1].probe}, heard: {condition}",
        )
        for condition in (("none", "silence", "distractor") if pairs else ())
    ]


def change_check(group: Group, found: Sequence[Found], what: str) -> Check:
    """Return whether the worst seed's bound lies within the largest loss, once every seed has been asked."""
    if len(found) < len(group.runs):
        reason = f"It was measured on {len(found)} of {len(group.runs)} seeds."
        return check(empty(reason), what, THRESHOLD, at_least(0))
    bound = min(change.bound for _, change, _ in found) * POINTS
    worst = min(change.delta for _, change, _ in found) * POINTS
    identical = all(verdict == "identical" for _, _, verdict in found)
    return Check(
        what=what,
        measured="identical to the bit" if identical else f"worst seed {worst:+.2f}, bound {bound:+.2f} points",
        threshold=THRESHOLD,
        verdict="pass" if identical or bound >= LARGEST_LOSS else "fail",
        sources=places_of(found),
    )


def asked_llava(runs: Sequence[Run]) -> bool:
    """Say whether some run was asked the plan's own probe."""
    for run in runs:
        try:
            if run.retention().probe.startswith(LLAVA):
                return True
        except DataError:
            continue
    return False

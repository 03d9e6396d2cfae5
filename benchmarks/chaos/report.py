"""The report: runs/chaos/report.json, a Markdown table for docs/scale.md, a table on the terminal."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos.faults import Fault, has_signs, told
from benchmarks.chaos.service import Service
from benchmarks.chaos.tally import Incident, Tally

BROKEN = ("wrong", "stale", "lost", "doubled")
FAILING = ("wrong", "stale", "lost")  # for which the run fails
HEAD = [
    *("component", "fault", "lasts, s", "leader", "callers, s", "boards, s", "sign, s"),
    *("callers' silence, s", "boards' silence, s", "asks failed", "untyped", *BROKEN),
]


class Report:
    """What a run found.

    Args:
        service: that ran.
        tally: what was seen.
        faults: in their order.
        seconds: of the run under load.
    """

    def __init__(self, service: Service, tally: Tally, faults: Sequence[Fault], seconds: float) -> None:
        self._service, self._tally, self._faults, self._seconds = service, tally, faults, seconds

    @property
    def failed(self) -> bool:
        """Whether anything was wrong, stale or lost."""
        return any(one.kind in FAILING for one in self._tally.incidents)

    def rows(self) -> list[list[str]]:
        """Return a header, and a row for each component and kind: the worse round of each."""
        found = [HEAD]
        groups: dict[tuple[str, str], list[Fault]] = {}
        for fault in self._faults:
            groups.setdefault((fault.component, fault.kind), []).append(fault)
        for (component, kind), rounds in groups.items():
            leaders = sum(one.leader for one in rounds)
            found.append(
                [
                    component,
                    kind,
                    _worst(rounds, lambda one: one.healed - one.began, "{:.0f}"),
                    f"{leaders} of {len(rounds)}" if component.startswith("gateway") else "",
                    _worst(rounds, lambda one: one.next_ask),
                    _worst(rounds, lambda one: one.next_message),
                    _worst(rounds, lambda one: one.next_page) if has_signs(component) else "",
                    _worst(rounds, lambda one: one.silent_asks),
                    _worst(rounds, lambda one: one.silent_boards),
                    str(sum(self._failed_asks(one) for one in rounds)),
                    *(str(sum(self._during(one)[name] for one in rounds)) for name in ("untyped", *BROKEN)),
                ]
            )
        return found

    def summary(self) -> str:
        """Return the totals in words."""
        tally, counts = self._tally, Counter(one.kind for one in self._tally.incidents)
        got = sum(one.got for one in tally.asks)
        taken = sum(one.acknowledged for one in tally.sent)
        problems = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if name not in BROKEN)
        return (
            f"{self._seconds / 60:.0f} minutes, {len(self._faults)} faults; {len(tally.asks)} wishes of callers "
            f"({len(tally.asks) / self._seconds:.1f}/s), {got} with a message; {taken} observations acknowledged "
            f"({taken / self._seconds:.1f}/s); {len(tally.messages)} different messages, "
            f"{tally.looks} looks at boards; "
            + ", ".join(f"{name} {counts[name]}" for name in BROKEN)
            + f"; single attempts that failed: {problems or 'none'}"
        )

    def write(self, folder: Path) -> None:
        """Write report.json and report.md."""
        supervisors = {name: f"{one.rest:g} s: {one.supervisor}" for name, one in self._service.programs.items()}
        told_all = {
            "summary": self.summary(),
            "restarted_after": supervisors,
            "faults": [asdict(one) | {"incidents": dict(self._during(one))} for one in self._faults],
            "incidents": [asdict(one) for one in self._tally.incidents],
        }
        text = json.dumps(told_all, ensure_ascii=False, indent=1)
        (folder / "report.json").write_text(text, encoding="utf-8")
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return the table and the totals."""
        lines = ["| " + " | ".join(row) + " |" for row in self.rows()]
        lines.insert(1, "|---|---|" + "---:|" * (len(HEAD) - 2))
        return "\n".join([*lines, "", self.summary(), ""])

    def _during(self, fault: Fault) -> Counter[str]:
        return Counter(one.kind for one in self._tally.incidents if self._of(one) is fault)

    def _of(self, incident: Incident) -> Fault | None:
        """Return the last fault that had begun."""
        return next((one for one in reversed(self._faults) if one.began <= incident.at), None)

    def _failed_asks(self, fault: Fault) -> int:
        return sum(
            not one.got and fault.began <= one.ended and one.began <= fault.recovered for one in self._tally.asks
        )


def _worst(rounds: Sequence[Fault], value: Callable[[Fault], float | None], form: str = "{:.1f}") -> str:
    values = [value(one) for one in rounds]
    known = [one for one in values if one is not None]
    return told(None) if len(known) < len(values) else form.format(max(known))

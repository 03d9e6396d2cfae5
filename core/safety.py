"""Check that a message helps where heat or cold is dangerous, and after a sudden change. Reads `words/safety.toml`."""

import re
from functools import cache
from typing import Any

from core.catalogue import word_table
from core.problem import Finding, Problem
from core.reading import Reading
from core.sign import split_sentences


def check_safety(text: str, reading: Reading) -> list[Finding]:
    """Return the reasons for which a message is unsafe to follow at this reading."""
    advice = " ".join(split_sentences(text)[1:])
    if danger := dangerous(reading.today):
        risk, restraint = _pattern("danger", "risk"), _pattern("danger", "restraint")
        if not _pattern(danger, "help").search(advice):
            return [Finding(Problem.UNSAFE, f"no help at {reading.today} °C")]
        if (found := risk.search(advice)) and not restraint.search(advice):
            return [Finding(Problem.UNSAFE, f"{found[0]} at {reading.today} °C")]
    sudden = _sudden(reading)
    if sudden and not _pattern("sudden", sudden, "help").search(advice):
        return [Finding(Problem.UNSAFE, f"no word about a change of {reading.change:+d} °C")]
    return []


def dangerous(today: int) -> str:
    """Return `heat` or `cold` where today's temperature (°C) is dangerous, else an empty text."""
    table = word_table("safety")
    return "heat" if today >= table["heat"]["from"] else "cold" if today <= table["cold"]["to"] else ""


def _sudden(reading: Reading) -> str:
    table = word_table("safety")["sudden"]
    if reading.change <= -table["size"] and reading.today <= table["chill"]["to"]:
        return "chill"
    return "heat" if reading.change >= table["size"] and reading.today >= table["heat"]["from"] else ""


@cache
def _pattern(*keys: str) -> re.Pattern[str]:
    value: Any = word_table("safety")
    for key in keys:
        value = value[key]
    return re.compile(value)

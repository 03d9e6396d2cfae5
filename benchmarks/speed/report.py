"""From the rounds' numbers to docs/benchmarks.md: tables and pictures between two marks; the text around them stays.

In: bench.json. Out: docs/benchmarks.json (one list entry per round, latencies as percentiles over all rounds),
docs/benchmarks.md, docs/images/bench-*.png; of another recipe than nano benchmarks-<recipe>.json and so on.
"""

import json
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.speed.contenders import CONTENDERS
from core.errors import StageError
from pipeline.files import write_text

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OPPONENT, LINE = "original", "vllm-awq"
PERCENTILES = (50, 90, 99)
ENOUGH = 100  # answers, for a p99
COLORS = (
    "#b8b8b8", "#707070", "#d9a441", "#b0623c", "#9fc3e6", "#3b82c4", "#6a5fb0", "#1d7f5c", "#c23b3b", "#7fd0ae",
    "#e08ab0", "#a03a6f",
)  # fmt: skip
STEPS = (1, 2, 5)  # of a logarithmic axis
Summary = dict[str, Any]


def publish(result: dict[str, Any], docs: Path) -> None:
    """Write the page, its pictures and the numbers.

    Raises:
        StageError: the page lacks the marks, or too little was measured.
    """
    which = _which(result["recipe"])
    page = docs / f"benchmarks{which}.md"
    text = (
        page.read_text(encoding="utf-8") if page.exists() else f"# Benchmarks of {result['recipe']}\n\n{BEGIN}{END}\n"
    )
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise StageError(f"{page} has no {BEGIN} … {END}.", "Put the two marks back where the tables belong.")
    summary = summarize(result)
    if not {OPPONENT, LINE} <= set(summary["contenders"]):
        raise StageError(f"{OPPONENT} and {LINE} were not both measured.", "Run the whole benchmark: make bench.")
    draw_rates(summary, docs / f"images/bench{which}-rates.png")
    draw_latencies(summary, docs / f"images/bench{which}-latencies.png")
    write_text(page.with_suffix(".json"), json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_text(page, f"{before}{BEGIN}\n{tables(summary)}\n{END}{after}")


def summarize(result: dict[str, Any]) -> Summary:
    """Return each contender's figures; lists have one entry per round."""
    contenders = {}
    for contender in CONTENDERS:
        rounds = [one[contender.name] for one in result["rounds"] if contender.name in one]
        if not rounds:
            continue
        contenders[contender.name] = {
            "start_seconds": [one["start_seconds"] for one in rounds],
            "peak_mib": [one["peak_mib"] for one in rounds],
            "closed": {n: _level([one["closed"][n] for one in rounds]) for n in rounds[0]["closed"]},
            "poisson": _level([one["poisson"] for one in rounds if one["poisson"]]),
            "stream": {n: _stream([one["stream"][n] for one in rounds]) for n in rounds[0]["stream"]},
        }
    known = {key: result[key] for key in ("machine", "recipe", "seconds", "busy")}
    return {**known, "rounds": len(result["rounds"]), "contenders": contenders}


def _level(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    latencies = [latency for one in rounds for latency in one["latencies_ms"]]
    sums = {key: sum(one[key] for one in rounds) for key in ("asked", "wrong", "failed")}
    per_message = {
        name: [_divide(1000 * one[key], len(one["latencies_ms"])) for one in rounds]
        for name, key in (("cpu_ms", "cpu_seconds"), ("generator_ms", "generator_seconds"))
    }
    rates = {key: [one[key] for one in rounds if key in one] for key in ("per_second", "rate")}
    return {**sums, **per_message, **rates, **_percentiles("p{}_ms", latencies)}


def _stream(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    pooled = {key: [value for one in rounds for value in one[f"{key}_ms"]] for key in ("ttft", "tpot")}
    figures = {k: v for key, values in pooled.items() for k, v in _percentiles(key + "_p{}_ms", values).items()}
    return figures | {key: sum(one[key] for one in rounds) for key in ("asked", "wrong", "failed")}


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        name.format(p): round(float(np.percentile(values, p)), 1) if len(values) >= (ENOUGH if p == 99 else 1) else None
        for p in PERCENTILES
    }


def _divide(above: float, below: float) -> float | None:
    return above / below if below else None


def ratio(above: Iterable[float | None], below: Iterable[float | None]) -> str:
    """Return the median of each round's ratio."""
    known = [a / b for a, b in zip(above, below, strict=False) if a is not None and b]
    return f"{statistics.median(known):.2f}×" if known else "–"


def _spread(values: Iterable[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle = f"{statistics.median(known):.{digits}f}"
    return middle if len(known) == 1 else f"{middle} ({min(known):.{digits}f}–{max(known):.{digits}f})"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _which(recipe: str) -> str:
    """Return what the names of a recipe's files have beside nano's."""
    return "" if recipe == "nano" else f"-{recipe}"


def tables(summary: Summary) -> str:
    """Return all tables as Markdown."""
    which = _which(summary["recipe"])
    machine = summary["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    head = (
        f"{machine['date']}, commit {machine['commit']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB; {versions}. Recipe {summary['recipe']}, {summary['rounds']} rounds, "
        f"{summary['seconds']:g} s a load. Rates, times and memory are medians of the rounds, in brackets lowest and "
        "highest; ratios are medians of each round's ratio; percentiles are over all rounds' answers (a p99 from "
        f"{ENOUGH} answers on)."
    )
    busy = f"### At random moments: {summary['busy']:.0%} of each server's own best rate, Poisson"
    return "\n\n".join(
        [
            textwrap.fill(head, 130),
            "### Right messages per second, by callers at once",
            _rates(summary),
            f"![messages per second](images/bench{which}-rates.png)",
            "### What each idea brings, in messages per second",
            _ideas(summary),
            "### Start, CPU, memory, mistakes",
            _costs(summary),
            "### How long a message takes, end to end, ms",
            _latencies(summary),
            f"![latency](images/bench{which}-latencies.png)",
            busy,
            _arrivals(summary),
            "### Token by token, ms",
            _streams(summary),
        ]
    )


def _levels(summary: Summary) -> list[str]:
    return list(summary["contenders"][LINE]["closed"])


def _busy_level(summary: Summary) -> str:
    return "32" if "32" in _levels(summary) else _levels(summary)[-1]


def _rates(summary: Summary) -> str:
    levels, many, rows = _levels(summary), _busy_level(summary), []
    opponent = summary["contenders"][OPPONENT]["closed"]
    for contender in CONTENDERS:
        if found := summary["contenders"].get(contender.name):
            rates = {n: found["closed"][n]["per_second"] for n in levels}
            against = [ratio(rates[n], opponent[n]["per_second"]) for n in (levels[0], many)]
            rows.append([f"`{contender.name}`: {contender.what}", *map(_spread, rates.values()), *against])
    return _table(["", *levels, f"against `{OPPONENT}` at {levels[0]}", f"at {many}"], rows)


def _ideas(summary: Summary) -> str:
    shown = [n for n in ("1", "8", "32") if n in _levels(summary)]
    pairs = [(contender.name, contender.over) for contender in CONTENDERS if contender.over]
    pairs += [(LINE, "vllm-awq-no-prefix"), (LINE, "llama.cpp-f16"), (LINE, "llama.cpp-q4")]
    rows = []
    for name, over in pairs:
        one, other = (summary["contenders"].get(key) for key in (name, over))
        if one and other:
            shares = [ratio(one["closed"][n]["per_second"], other["closed"][n]["per_second"]) for n in shown]
            rows.append([f"`{name}` over `{over}`", *shares])
    return _table(["", *[f"at {n}" for n in shown]], rows)


def _costs(summary: Summary) -> str:
    many, rows = _busy_level(summary), []
    for name, found in summary["contenders"].items():
        level, all_levels = (
            found["closed"][many],
            [*found["closed"].values(), found["poisson"], *found["stream"].values()],
        )
        each = [_divide(peak, rate) for peak, rate in zip(found["peak_mib"], level["per_second"], strict=True)]
        asked, wrong, failed = (sum(one.get(key, 0) for one in all_levels) for key in ("asked", "wrong", "failed"))
        figures = [_spread(found["start_seconds"]), _spread(level["cpu_ms"], 0), _spread(level["generator_ms"], 1)]
        memory = [_spread(found["peak_mib"], 0), _spread(each, 0)]
        rows.append([f"`{name}`", *figures, *memory, str(asked), str(wrong), str(failed)])
    head = ["", "start to first answer, s", f"CPU ms per message at {many}", "the load generator's own"]
    return _table([*head, "peak memory, MiB", f"MiB per message/s at {many}", "asked", "wrong", "failed"], rows)


def _latencies(summary: Summary) -> str:
    shown = [n for n in ("1", "8", "32", "64") if n in _levels(summary)]
    rows = [
        [f"`{name}`", *[_number(found["closed"][n][f"p{p}_ms"]) for n in shown for p in PERCENTILES]]
        for name, found in summary["contenders"].items()
    ]
    return _table(["", *[f"p{p} at {n}" for n in shown for p in PERCENTILES]], rows)


def _arrivals(summary: Summary) -> str:
    rows = [
        [
            f"`{name}`",
            _spread(found["poisson"]["rate"]),
            *[_number(found["poisson"][f"p{p}_ms"]) for p in PERCENTILES],
            str(found["poisson"]["wrong"] + found["poisson"]["failed"]),
        ]
        for name, found in summary["contenders"].items()
    ]
    return _table(["", "arrivals/s", *[f"p{p}, ms" for p in PERCENTILES], "wrong or failed"], rows)


def _streams(summary: Summary) -> str:
    told = {name: found["stream"] for name, found in summary["contenders"].items() if found["stream"]}
    if LINE not in told:
        return "No streaming was measured."
    keys = [f"{key}_p{p}_ms" for key in ("ttft", "tpot") for p in (50, 90)]
    levels = list(told[LINE])
    rows = [
        [f"`{name}`", *[_number(stream[n][key], 1) for n in levels for key in keys]] for name, stream in told.items()
    ]
    names = [f"{key} p{p}" for key in ("TTFT", "TPOT") for p in (50, 90)]
    return _table(["", *[f"{name} at {n}" for n in levels for name in names]], rows)


def draw_rates(summary: Summary, target: Path) -> None:
    """Draw right messages per second over callers at once; bands from the lowest round to the highest."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    levels = _levels(summary)
    x = [int(n) for n in levels]
    for name, found in summary["contenders"].items():
        rounds = [found["closed"][n]["per_second"] for n in levels]
        style = _style(name)
        axes.plot(x, [statistics.median(r) for r in rounds], "o-", label=name, markersize=4, **style)
        axes.fill_between(x, [min(r) for r in rounds], [max(r) for r in rounds], color=style["color"], alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="callers at once", ylabel="right messages per second")
    axes.set_xticks(x, levels)
    _finish(figure, axes, target)


def draw_latencies(summary: Summary, target: Path) -> None:
    """Draw the median latency over the rate of messages: the knee is where a line turns upwards."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, found in summary["contenders"].items():
        rates = [statistics.median(level["per_second"]) for level in found["closed"].values()]
        middles = [level["p50_ms"] for level in found["closed"].values()]
        style = _style(name)
        axes.plot(rates, middles, "o-", label=name, markersize=4, **style)
    axes.set(xscale="log", yscale="log", xlabel="right messages per second", ylabel="p50 of a message, ms")
    axes.xaxis.set_major_locator(LogLocator(subs=STEPS))
    axes.xaxis.set_major_formatter("{x:g}")
    _finish(figure, axes, target)


def _style(name: str) -> dict[str, Any]:
    colors = dict(zip((contender.name for contender in CONTENDERS), COLORS, strict=True))
    return {"color": colors[name], "linewidth": 3 if name == LINE else 1.5}


def _finish(figure: Figure, axes: Any, target: Path) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=STEPS))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=110)

"""From the rounds' numbers to docs/benchmarks.md: tables and pictures, between two marks; the words around them stay.

Every cell is the median of the rounds; ratios are taken within a round first. In: bench.json. Out: docs/benchmarks.json
(the same numbers), docs/benchmarks.md, docs/images/bench-*.png.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.speed.contenders import CONTENDERS
from data.artefact import write_text
from data.errors import StageError

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OPPONENT, LINE = "original", "vllm-awq"
COLORS = (
    "#9a9a9a",
    "#b0623c",
    "#d98f4e",
    "#d9b44e",
    "#7aa6d1",
    "#3b82c4",
    "#6a5fb0",
    "#1d7f5c",
    "#5fbf95",
    "#c05a8a",
    "#8a3a5f",
)
Pick = Callable[[dict[str, Any]], float]  # one contender's figure in one round


def publish(result: dict[str, Any], docs: Path) -> None:
    """Write the page, its pictures and the numbers.

    Raises:
        StageError: the page has no place for them.
    """
    page = docs / "benchmarks.md"
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise StageError(f"{page} has no {BEGIN} … {END}.", "Put the two marks back where the tables belong.")
    draw_rates(result, docs / "images" / "bench-rates.png")
    draw_latencies(result, docs / "images" / "bench-latencies.png")
    write_text(docs / "benchmarks.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_text(page, f"{before}{BEGIN}\n{tables(result)}\n{END}{after}")


def tables(result: dict[str, Any]) -> str:
    """Return all tables as Markdown."""
    machine, names = result["machine"], _names(result)
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    levels = list(result["rounds"][0][names[0]]["closed"])
    head = (
        f"{machine['date']}, commit {machine['commit']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB; {versions}. Recipe {result['recipe']}, {len(result['rounds'])} rounds, "
        f"{result['seconds']:g} s a load. Medians of the rounds; in brackets the lowest and the highest."
    )
    return "\n\n".join(
        [
            head,
            "### Right messages per second, by callers at once",
            _rates(result, names, levels),
            "![messages per second](images/bench-rates.png)",
            "### What each idea brings",
            _ideas(result),
            "### Seconds and memory",
            _costs(result, names),
            "### How long a message takes, end to end, ms",
            _latencies(result, names),
            "![latency](images/bench-latencies.png)",
            f"### At random moments: Poisson arrivals, {0.7:.0%} of a server's best rate",
            _arrivals(result, names),
            "### Token by token, ms (time to the first; per further token)",
            _streams(result, names),
        ]
    )


def _names(result: dict[str, Any]) -> list[str]:
    ran = set.intersection(*(set(one) for one in result["rounds"]))
    return [contender.name for contender in CONTENDERS if contender.name in ran]


def _values(result: dict[str, Any], name: str, pick: Pick) -> list[float]:
    return [pick(one[name]) for one in result["rounds"]]


def _spread(values: Sequence[float], digits: int = 1) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratio(result: dict[str, Any], name: str, over: str, pick: Pick) -> float:
    """Return the median over the rounds of one contender's figure divided by another's."""
    return statistics.median(
        a / b for a, b in zip(_values(result, name, pick), _values(result, over, pick), strict=True)
    )


def at(*keys: str) -> Pick:
    """Return what picks the figure under these keys."""

    def pick(one: dict[str, Any]) -> float:
        found: Any = one
        for key in keys:
            found = found[key]
        return float("nan" if found is None else found)

    return pick


def rate_at(at_once: str) -> Pick:
    """Return what picks the right messages per second at a number of callers."""
    return at("closed", at_once, "per_second")


def _middle(result: dict[str, Any], name: str, *keys: str) -> float:
    return statistics.median(_values(result, name, at(*keys)))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _what(name: str) -> str:
    return next(contender.what for contender in CONTENDERS if contender.name == name)


def _rates(result: dict[str, Any], names: list[str], levels: list[str]) -> str:
    first, many = levels[0], "32" if "32" in levels else levels[-1]
    rows = []
    for name in names:
        cells = [_spread(_values(result, name, rate_at(level))) for level in levels]
        against = [
            f"{ratio(result, name, OPPONENT, rate_at(n)):.1f}×" if OPPONENT in names else "" for n in (first, many)
        ]
        rows.append([f"`{name}`: {_what(name)}", *cells, *against])
    return _table(["", *levels, f"× `{OPPONENT}` at {first}", f"at {many}"], rows)


def _ideas(result: dict[str, Any]) -> str:
    names, rows = _names(result), []
    pairs = [(c.name, c.over) for c in CONTENDERS if c.over] + [(LINE, "vllm-awq-no-prefix"), (LINE, "llama.cpp-q4")]
    for name, over in pairs:
        if over in names and name in names:
            shares = [f"{ratio(result, name, over, rate_at(n)):.2f}×" for n in ("1", "8", "32") if n in _levels(result)]
            rows.append([f"`{name}` over `{over}`", *shares])
    return _table(["messages/s", *[f"at {n}" for n in ("1", "8", "32") if n in _levels(result)]], rows)


def _levels(result: dict[str, Any]) -> list[str]:
    return list(next(iter(result["rounds"][0].values()))["closed"])


def _all_levels(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [*one["closed"].values(), *([one["poisson"]] if one["poisson"] else [])]


def _costs(result: dict[str, Any], names: list[str]) -> str:
    many = "32" if "32" in _levels(result) else _levels(result)[-1]
    rows = []
    for name in names:
        asked, wrong, failed = (
            sum(level[key] for one in result["rounds"] for level in _all_levels(one[name]))
            for key in ("asked", "wrong", "failed")
        )
        cpu = [1000 * seconds for seconds in _values(result, name, at("closed", many, "cpu_seconds_per_message"))]
        memory = _values(result, name, at("peak_mib"))
        each = _values(result, name, lambda one: one["peak_mib"] / one["closed"][many]["per_second"])
        rows.append(
            [
                f"`{name}`",
                _spread(_values(result, name, at("start_seconds"))),
                _spread(cpu, 0),
                _spread(memory, 0),
                f"{statistics.median(each):.0f}",
                str(asked),
                f"{wrong / asked:.2%}",
                str(failed),
            ]
        )
    head = ["", "start to first answer, s", f"CPU ms per message at {many}", "peak memory, MiB"]
    return _table([*head, f"MiB per message/s at {many}", "asked", "wrong", "failed"], rows)


def _latencies(result: dict[str, Any], names: list[str]) -> str:
    levels = [level for level in ("1", "8", "32", "64") if level in _levels(result)]
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for level in levels:
            row += [f"{_middle(result, name, 'closed', level, p):.0f}" for p in ("p50_ms", "p90_ms", "p99_ms")]
        rows.append(row)
    return _table(["", *[f"{p} at {level}" for level in levels for p in ("p50", "p90", "p99")]], rows)


def _arrivals(result: dict[str, Any], names: list[str]) -> str:
    rows = []
    for name in names:
        if any(one[name]["poisson"] is None for one in result["rounds"]):
            continue
        cells = [_spread(_values(result, name, at("poisson", key))) for key in ("rate", "p50_ms", "p90_ms", "p99_ms")]
        rows.append([f"`{name}`", *cells])
    return _table(["", "arrivals/s", "p50, ms", "p90, ms", "p99, ms"], rows)


def _streams(result: dict[str, Any], names: list[str]) -> str:
    told = [name for name in names if result["rounds"][0][name]["stream"]]
    levels = list(result["rounds"][0][told[0]]["stream"]) if told else []
    rows = []
    for name in told:
        cells = [
            "; ".join(f"{_middle(result, name, 'stream', level, key):.1f}" for key in ("ttft_ms", "tpot_ms"))
            for level in levels
        ]
        rows.append([f"`{name}`", *cells])
    return _table(["", *[f"{level} at once" for level in levels]], rows)


def draw_rates(result: dict[str, Any], target: Path) -> None:
    """Draw right messages per second over callers at once; bands from the lowest round to the highest."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    levels = _levels(result)
    for name, color in zip(_names(result), COLORS, strict=False):
        rounds = [[rate_at(level)(one[name]) for level in levels] for one in result["rounds"]]
        columns = list(zip(*rounds, strict=True))
        x = [int(level) for level in levels]
        bold = 2.5 if name == LINE else 1.3
        axes.plot(
            x, [statistics.median(c) for c in columns], "o-", color=color, label=name, linewidth=bold, markersize=3
        )
        axes.fill_between(x, [min(c) for c in columns], [max(c) for c in columns], color=color, alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="callers at once", ylabel="right messages per second")
    _finish(figure, axes, [int(level) for level in levels], target)


def draw_latencies(result: dict[str, Any], target: Path) -> None:
    """Draw the median latency over the rate that it is had at: the knee is where a line turns upwards."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, color in zip(_names(result), COLORS, strict=False):
        rates = [statistics.median(_values(result, name, rate_at(level))) for level in _levels(result)]
        middles = [_middle(result, name, "closed", level, "p50_ms") for level in _levels(result)]
        bold = 2.5 if name == LINE else 1.3
        axes.plot(rates, middles, "o-", color=color, label=name, linewidth=bold, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="right messages per second", ylabel="p50 of a message, ms")
    _finish(figure, axes, None, target)


def _finish(figure: Figure, axes: Any, ticks: list[int] | None, target: Path) -> None:
    if ticks:
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=110)

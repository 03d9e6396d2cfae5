"""Coverage of a training set: a table by temperature band and size of change, and a picture of the grid."""

from collections import Counter
from pathlib import Path

from core.reading import USUAL_CHANGE, USUAL_RANGE
from core.sense import BANDS, band_of
from data.sets import Example, Split, all_examples

# Size of change, °C.
CHANGES = (
    ("large fall", -60, -10),
    ("medium fall", -9, -5),
    ("small fall", -4, -1),
    ("no change", 0, 0),
    ("small rise", 1, 4),
    ("medium rise", 5, 9),
    ("large rise", 10, 60),
)


def count(sets: dict[Split, list[Example]]) -> Counter[tuple[str, str]]:
    """Count rows by (band of today, kind of change)."""
    return Counter((band_of(row.reading.today).name, kind_of(row.reading.change)) for _, row in all_examples(sets))


def kind_of(change: int) -> str:
    """Name a change in °C."""
    return next(name for name, low, high in CHANGES if low <= change <= high)


def table(sets: dict[Split, list[Example]]) -> list[list[str]]:
    """Return the coverage table, header first, totals last."""
    counts = count(sets)
    names = [name for name, _, _ in CHANGES]
    rows = [
        [f"{band.name} ({band.low}…{band.high} °C)", *(str(counts[band.name, name]) for name in names)]
        for band in BANDS
    ]
    totals = [str(sum(counts[band.name, name] for band in BANDS)) for name in names]
    return [["today", *names], *rows, ["all", *totals]]


def draw(sets: dict[Split, list[Example]], path: Path) -> None:
    """Draw every row as a point on the grid yesterday × today (°C)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for edge in (band.low - 0.5 for band in BANDS[:-1]):
        axes.axhline(edge, color="0.85", linewidth=0.8, zorder=0)
    for (split, rows), (marker, color) in zip(
        sets.items(), (("o", "#3b6ea5"), ("s", "#e07b39"), ("^", "#2e8b57")), strict=True
    ):
        xs, ys = [row.reading.yesterday for row in rows], [row.reading.today for row in rows]
        axes.scatter(xs, ys, s=14, marker=marker, color=color, label=f"{split} ({len(rows)})")
    (low, high), far = USUAL_RANGE, USUAL_CHANGE
    corners = [(low, low), (low, low + far), (high - far, high), (high, high), (high, high - far), (low + far, low)]
    axes.plot(*zip(*corners, corners[0], strict=True), color="0.4", linewidth=0.8)
    axes.set(xlabel="yesterday, °C", ylabel="today, °C", title="Input pairs of the training set, by split")
    axes.set_aspect("equal")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})

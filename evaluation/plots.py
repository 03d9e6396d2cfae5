"""The report's pictures, as data URIs; grey text without a background is readable on light and on dark pages."""

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core.reading import USUAL_RANGE
from core.sign import Sign, cells, split_sentences
from evaluation.scores import Answer

INK = "#808080"
COLORS = ("#3b82c4", "#e07b39", "#2e9e6b", "#a561b8", "#c94f5d", "#8a8a3a")


def passed_share(answers: Sequence[Answer], sign: Sign) -> NDArray[np.float64]:
    """Return the share of answers that pass every check, [today, yesterday] over the usual range; NaN: not asked."""
    low, high = USUAL_RANGE
    size = high - low + 1
    passed, asked = np.zeros((size, size)), np.zeros((size, size))
    for answer in answers:
        cell = answer.reading.today - low, answer.reading.yesterday - low
        asked[cell] += 1
        passed[cell] += not answer.contradictions(sign)
    return np.divide(passed, asked, out=np.full_like(passed, np.nan), where=asked > 0)


def draw_grid(answers: Sequence[Answer], sign: Sign) -> str:
    """Draw where answers pass every check; a cell with a failure stands out among thousands."""
    low, high = USUAL_RANGE
    shares = passed_share(answers, sign)

    def draw(figure: Figure) -> None:
        axes = _axes(figure, xlabel="yesterday, °C", ylabel="today, °C")
        edges = (low - 0.5, high + 0.5, low - 0.5, high + 0.5)
        image = axes.imshow(shares, origin="lower", extent=edges, cmap="RdYlGn", vmin=0, vmax=1, alpha=0.75)
        for row, column in zip(*np.nonzero(shares < 1), strict=True):
            axes.plot(column + low, row + low, "s", markersize=6, markerfacecolor="none", markeredgecolor="#c00000")
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share that passes every check")
        bar.ax.tick_params(colors=INK)
        bar.ax.yaxis.label.set_color(INK)

    return _picture(draw, 6.4, 5.4)


def draw_losses(histories: dict[str, list[dict[str, Any]]]) -> str:
    """Draw training and validation losses, nats per token, over the steps of each training."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, xlabel="step", ylabel="loss, nats/token")
        axes.set_yscale("log")
        for color, (name, history) in zip(COLORS, histories.items(), strict=False):
            for key, style, label in (("loss", "-", "training"), ("eval_loss", "o--", "validation")):
                points = [(entry["step"], entry[key]) for entry in history if key in entry]
                if points:
                    xs, ys = zip(*points, strict=True)
                    axes.plot(xs, ys, style, color=color, linewidth=1.2, markersize=4, label=f"{name}, {label}")
        _legend(axes)

    return _picture(draw, 6.4, 3.4)


def draw_variety(columns: dict[str, list[Answer]]) -> str:
    """Draw the share of the answers with the N commonest second sentences; the lower the curve, the more variety."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, xlabel="N commonest second sentences", ylabel="share of the answers")
        for color, (name, answers) in zip(COLORS, columns.items(), strict=False):
            counts = Counter(split_sentences(answer.text)[-1] for answer in answers if answer.text)
            shares = np.cumsum([count for _, count in counts.most_common()]) / len(answers)
            axes.plot(np.arange(1, len(shares) + 1), shares, color=color, linewidth=1.4, label=name)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        _legend(axes)

    return _picture(draw, 6.4, 3.4)


def draw_widths(answers: Sequence[Answer], sign: Sign) -> str:
    """Draw a histogram of the widths, in cells, of the lines on the sign."""
    widths = [cells(line) for answer in answers for page in sign.pages(answer.text) for line in page]

    def draw(figure: Figure) -> None:
        axes = _axes(figure, xlabel="cells of a line", ylabel="lines")
        axes.hist(widths, bins=np.arange(0.5, max([*widths, sign.columns]) + 1.5), color=COLORS[0], rwidth=0.9)
        axes.axvline(sign.columns + 0.5, color="#c00000", linewidth=1, label=f"{sign.columns} cells")
        _legend(axes)

    return _picture(draw, 6.4, 3.0)


def _axes(figure: Figure, **labels: str) -> Any:
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set(**labels)
    axes.tick_params(colors=INK, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.grid(alpha=0.2, color=INK)
    return axes


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")


def _picture(draw: Callable[[Figure], None], width: float, height: float) -> str:
    figure = Figure(figsize=(width, height), layout="compressed", facecolor="none")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

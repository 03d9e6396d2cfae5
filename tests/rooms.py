"""The map of the rooms, read from the code: who imports whom, who starts whose process, arrows back, circles, sizes.

Usage: python -m tests.rooms [--root FOLDER] [--draw docs/images/rooms.svg]
In: a checkout, this one or an older one. Out: a table on the screen, and with `--draw` a picture.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Room → the rooms that it may import and start. The direction of the house; docs/architecture.md says why.
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "pipeline": {"core"},
    "data": {"core", "pipeline"},
    "training": {"core", "pipeline", "data"},
    "merge": {"core", "pipeline", "data", "training"},
    "clients": {"core"},
    "database": {"core"},
    "sensors": {"core", "database"},
    "signs": {"core"},
    "gateway": {"core", "clients", "database", "sensors", "signs"},
    "serve": {"core", "pipeline", "clients", "gateway"},
    "evaluation": {
        *("core", "pipeline", "data", "training", "merge"),
        *("clients", "database", "sensors", "signs", "gateway", "serve"),
    },
}
# Where a room stands in the picture, from left to right; the others stand in the middle.
COLUMNS = {
    **dict.fromkeys(("pipeline", "data", "training", "merge"), 0.2),
    "clients": 0.65,
    **dict.fromkeys(("gateway", "serve"), 0.8),
    **dict.fromkeys(("database", "sensors"), 0.95),
}


@dataclass(frozen=True)
class Module:
    """One Python file of a room."""

    name: str  # dotted
    path: Path
    room: str

    @property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.path.read_text(encoding="utf-8"))


def modules(root: Path, rooms: set[str]) -> list[Module]:
    """Return every Python file of the rooms."""
    found = []
    for path in sorted(path for room in rooms for path in (root / room).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, parts[0]))
    return found


def imports(module: Module, *, lazy: bool = True) -> set[str]:
    """Return the dotted names that a module imports; with `lazy` also those inside functions."""
    names: set[str] = set()
    for node in _walk(module.tree, lazy=lazy):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _walk(node: ast.AST, *, lazy: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, lazy=lazy)


def starts(module: Module, rooms: set[str]) -> set[str]:
    """Return the rooms of which a module starts a process, `?` if that is computed: what follows `-m` in its lists."""
    constants = {
        target.id: node.value.value
        for node in module.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    started = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.List | ast.Tuple):
            for flag, what in zip(node.elts, node.elts[1:], strict=False):
                if isinstance(flag, ast.Constant) and flag.value == "-m":
                    value = constants.get(what.id, "?") if isinstance(what, ast.Name) else "?"
                    value = what.value if isinstance(what, ast.Constant) else value
                    started.add(str(value).split(".")[0])
    return started & (rooms | {"?"})


def import_arrows(root: Path, rooms: set[str]) -> Counter[tuple[str, str]]:
    """Return (room, room that it imports) → number of imports."""
    return Counter(
        (module.room, name.split(".")[0])
        for module in modules(root, rooms)
        for name in imports(module)
        if name.split(".")[0] in rooms - {module.room}
    )


def process_arrows(root: Path, rooms: set[str]) -> set[tuple[str, str]]:
    """Return (room, room of which it starts a process), itself included."""
    return {(module.room, started) for module in modules(root, rooms) for started in starts(module, rooms)}


def circle(root: Path, rooms: set[str]) -> list[str] | None:
    """Return a circle of modules that import each other, lazily or not; None: there is none."""
    every = modules(root, rooms)
    known = {module.name for module in every}
    graph = {module.name: {_longest(name, known) for name in imports(module)} - {"", module.name} for module in every}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return None


def _longest(name: str, known: set[str]) -> str:
    """Return the module that an imported name lies in, or an empty text."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def longest(root: Path, rooms: set[str]) -> tuple[tuple[int, str], tuple[int, str]]:
    """Return the longest file and the longest function, each with its lines."""
    files, functions = [], []
    for module in modules(root, rooms):
        place = str(module.path.relative_to(root))
        files.append((len(module.path.read_text(encoding="utf-8").splitlines()), place))
        functions += [
            (node.end_lineno - node.lineno + 1, f"{place}: {node.name}")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
        ]
    return max(files), max(functions)


def floors(arrows: set[tuple[str, str]], rooms: set[str]) -> dict[str, int]:
    """Return on which floor each room stands: one above the highest room that it knows."""
    below = {room: {other for one, other in arrows if one == room} for room in rooms}
    floor: dict[str, int] = {}
    for room in TopologicalSorter(below).static_order():
        floor[room] = 1 + max((floor[other] for other in below[room]), default=-1)
    return floor


def without_shortcuts(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows without those that a longer way replaces (the transitive reduction)."""
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)

    def reaches(one: str) -> set[str]:
        return below.get(one, set()).union(*(reaches(other) for other in below.get(one, set())))

    return {(one, other) for one, other in arrows if not any(other in reaches(way) for way in below[one] - {other})}


def draw(root: Path, rooms: set[str], path: Path) -> None:
    """Draw the rooms on their floors, the line left, the service right; an arrow points to the room that is used."""
    from matplotlib.figure import Figure

    started = {arrow for arrow in process_arrows(root, rooms) if arrow[0] != arrow[1]}
    arrows = set(import_arrows(root, rooms)) | started
    floor = floors(arrows, rooms)
    place = {room: (COLUMNS.get(room, 0.5), level) for room, level in floor.items()}
    figure = Figure(figsize=(6.4, 5.6), layout="constrained", facecolor="#f6f4ef")
    axes = figure.add_subplot()
    for one, other in sorted(without_shortcuts(arrows)):
        style = {"arrowstyle": "-|>", "color": "#2b2b2b", "shrinkA": 26, "shrinkB": 26, "linewidth": 1.3}
        axes.annotate("", place[other], place[one], arrowprops=style)
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#2b2b2b"}
        axes.text(x, y, room, ha="center", va="center", fontsize=12, bbox=box)
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.5, max(floor.values()) + 0.5)
    axes.axis("off")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the map, and draw it if asked."""
    parser = argparse.ArgumentParser(description="The map of the rooms, read from the code.")
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout (%(default)s)")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="also draw it (svg or png)")
    options = parser.parse_args()
    rooms = {room for room in ALLOWED if (options.root / room).is_dir()}
    counts = import_arrows(options.root, rooms)
    back = {(one, other) for one, other in counts if other not in ALLOWED[one]}
    processes = process_arrows(options.root, rooms)
    back_processes = {(one, other) for one, other in processes if one != other and other not in ALLOWED[one]}
    for room in ALLOWED:
        if room in rooms:
            known = ", ".join(f"{other} {counts[room, other]}" for other in ALLOWED if counts[room, other])
            print(f"{room:<11} imports {known or 'nothing'}")
    print("processes:  " + "; ".join(f"{one} starts {other}" for one, other in sorted(processes)))
    print(f"arrows back: {len(back)} imports {sorted(back)}, {len(back_processes)} processes {sorted(back_processes)}")
    print(f"circle: {circle(options.root, rooms) or 'none'}")
    for what, (lines, place) in zip(("file", "function"), longest(options.root, rooms), strict=True):
        print(f"longest {what}: {lines} lines, {place}")
    if options.draw:
        draw(options.root, rooms, options.draw)


if __name__ == "__main__":
    main()

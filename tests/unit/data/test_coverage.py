"""Coverage: the table adds up, both sets reach every corner, and the picture is reproducible."""

from pathlib import Path

import pytest

from core.reading import Reading
from core.sense import BANDS
from data.coverage import CHANGES, count, draw, kind_of, table
from data.sets import Example, all_examples, training_sets


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (-25, "large fall"),
        (-10, "large fall"),
        (-9, "medium fall"),
        (-5, "medium fall"),
        (-4, "small fall"),
        (-1, "small fall"),
        (0, "no change"),
        (1, "small rise"),
        (4, "small rise"),
        (5, "medium rise"),
        (9, "medium rise"),
        (10, "large rise"),
        (25, "large rise"),
    ],
)
def test_changes_have_a_size_and_a_direction(change: int, name: str) -> None:
    assert kind_of(change) == name


@pytest.mark.parametrize("name", ["large", "diverse"])
def test_both_sets_cover_every_band_with_every_kind_of_change(name: str) -> None:
    sets = training_sets(name, 302, 11)
    counts = count({"train": sets["train"]})
    assert set(counts) == {(band.name, kind) for band in BANDS for kind, _, _ in CHANGES}
    readings = [row.reading for _, row in all_examples(sets)]
    for values in ([r.yesterday for r in readings], [r.today for r in readings]):
        assert (min(values), max(values)) == (-35, 45)
    changes = [r.change for r in readings]
    assert (min(changes), max(changes)) == (-25, 25)


def test_the_table_counts_every_row_once() -> None:
    readings = [Reading(10, 20), Reading(8, 20), Reading(0, 0), Reading(-1, -20), Reading(31, 30)]
    head, *bands, totals = table(
        {"train": [Example(r, None, "") for r in readings[:2]], "test": [Example(r, None, "") for r in readings[2:]]}
    )
    assert head == ["today", *(name for name, _, _ in CHANGES)]
    assert [row[0].split()[0] for row in bands] == ["hot", "warm", "cool", "cold", "freezing"]
    cells = {(row[0].split()[0], name): row[i] for row in bands for i, name in enumerate(head) if row[i] != "0" and i}
    assert cells == {
        ("hot", "small fall"): "1",
        ("warm", "large rise"): "2",
        ("cold", "no change"): "1",
        ("freezing", "large fall"): "1",
    }
    assert totals == ["all", "1", "0", "1", "1", "0", "0", "2"]


def test_the_picture_is_the_same_every_time_and_shows_the_rows(tmp_path: Path) -> None:
    sets = training_sets("diverse", 30, 11)
    paths = [tmp_path / name for name in ("one.png", "two.png", "other.png")]
    draw(sets, paths[0])
    draw(sets, paths[1])
    draw(sets | {"train": sets["train"][:29]}, paths[2])
    one, two, other = (path.read_bytes() for path in paths)
    assert one.startswith(b"\x89PNG")
    assert one == two != other

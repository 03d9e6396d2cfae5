"""The dashboards: every query parses, nothing is tied to one Grafana, and no panel lies over another."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.monitoring import DASHBOARDS, dashboard, queries, selectors

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def placed(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Return the cells of Grafana's grid that a panel covers."""
    place = panel["gridPos"]
    return {
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    }


def test_there_is_one_for_the_operator_and_one_for_the_engineer() -> None:
    assert [path.stem for path in DASHBOARDS] == ["engineer", "operator"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_parses(path: Path) -> None:
    assert len(queries(path)) > 10
    assert all(name for query in queries(path) for name, _ in selectors(query))


def test_a_query_that_does_not_parse_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        selectors("sum(rate(signboard_requests_total[5m])")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_it_is_tied_to_no_grafana(path: Path) -> None:
    content = dashboard(path)
    assert not {"uid", "id", "__inputs"} & set(content)
    (variable,) = content["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    for panel in content["panels"]:
        sources = [panel.get("datasource", SOURCE), *(target["datasource"] for target in panel.get("targets", ()))]
        assert all(source == SOURCE for source in sources), panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_panels_have_ids_and_places_of_their_own(path: Path) -> None:
    panels = dashboard(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        cells = placed(panel)
        assert not cells & covered, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        covered |= cells

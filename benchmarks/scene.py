"""What a benchmark's prompts tell the model: the gateway's default park on one day, whatever today's season is."""

from datetime import date
from typing import Any

from core.catalogue import elements
from core.park import Scene
from core.reading import Reading
from core.season import Season

DAY = date(2026, 5, 1)
SCENE = Scene.of(Season.of(DAY), elements())  # in May everything is there


def gateway_body(reading: Reading) -> dict[str, Any]:
    """Return what to post to the gateway, or to the original, for a message that no board shows."""
    return {"yesterday_temp": reading.yesterday, "today_temp": reading.today, "board": None, "date": str(DAY)}

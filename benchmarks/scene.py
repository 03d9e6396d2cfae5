"""What a benchmark's prompts tell the model: the gateway's default park on one day, whatever today's season is."""

from datetime import date

from core.catalogue import elements
from core.park import Scene
from core.season import Season

DAY = date(2026, 5, 1)
SCENE = Scene.of(Season.of(DAY), elements())  # in May everything is there

"""Callers who ask for messages, and an observer who looks at every board and sign, all the time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random
from typing import Any

import httpx

from benchmarks.chaos.sensors import readings
from benchmarks.chaos.service import BY_HAND, Service
from benchmarks.chaos.tally import Ask, Incident, Message, Tally
from core.park import Scene
from core.reading import usual_grid
from gateway.problems import KINDS, MEDIA_TYPE

CALLERS = 3
PAUSE = 1.0  # seconds of a caller between two wishes
CALLED = 6  # boards that only callers write for …
AROUND = 120  # … once in so many wishes, so that each goes dark before it is written for again
ATTEMPTS = 4
TIMEOUT = 15.0  # seconds of one attempt
AGAIN = (408, 429, 502, 503, 504)
LOOK_SECONDS = 1.5  # between two looks at a board of one gateway
SIGN_SECONDS = 0.25
HISTORY_SECONDS = 60.0


class Load:
    """Asks and looks until it is cancelled.

    Args:
        service: is asked.
        tally: gets everything that is seen.
        seed: of the readings.
    """

    def __init__(self, service: Service, tally: Tally, seed: int) -> None:
        self._service, self._tally = service, tally
        self._random, self._grid = Random(seed), list(usual_grid())
        self._count = 0
        self._called = [*(f"call-{number}" for number in range(CALLED)), BY_HAND]
        self._told: dict[str, set[tuple[int, int]]] = {name: set() for name in self._called}
        for number, board in enumerate(service.boards):
            self._told[board] = set(readings(number))

    async def run(self) -> None:
        """Run all callers and all observers."""
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._call(number * PAUSE / CALLERS))
            for url in self._service.gateways.values():
                group.create_task(self._watch(url))
            group.create_task(self._watch_signs())

    # Callers

    async def _call(self, delay: float) -> None:
        await asyncio.sleep(delay)
        async with httpx.AsyncClient(base_url=self._service.url, trust_env=False, timeout=TIMEOUT) as client:
            while True:
                await self._ask(client)
                await asyncio.sleep(PAUSE)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        """Ask for one message, and once more after an error, as a careful client does."""
        place, self._count = self._count % AROUND, self._count + 1
        board = self._called[place] if place < len(self._called) else None
        reading = self._random.choice(self._grid)
        body = {"yesterday_temp": reading.yesterday, "today_temp": reading.today, "board": board, "park": BY_HAND}
        if board:
            self._told[board].add((reading.yesterday, reading.today))
        began = time.time()
        for attempt in range(1, ATTEMPTS + 1):
            pause = await self._attempt(client, body)
            if pause is None or attempt == ATTEMPTS:
                self._tally.asks.append(Ask(began, time.time(), pause is None, attempt))
                return
            await asyncio.sleep(pause or 0.5 * 2 ** (attempt - 1))

    async def _attempt(self, client: httpx.AsyncClient, body: dict[str, Any]) -> float | None:
        """Ask once; return None for a message, else the seconds that the answer wants us to wait, 0 if it says none."""
        at = time.time()
        try:
            answer = await client.post("/generate/temperature", json=body)
        except httpx.HTTPError as error:
            self._tally.incidents.append(Incident(at, "no answer", type(error).__name__))
            return 0.0
        if answer.status_code == httpx.codes.OK:
            self._check(answer.json(), body)
            return None
        kind = code_of(answer)
        self._tally.incidents.append(Incident(at, kind, f"{answer.status_code}: {answer.text[:200]}"))
        return float(answer.headers.get("retry-after", 0)) if answer.status_code in AGAIN else 0.0

    def _check(self, told: dict[str, Any], body: dict[str, Any]) -> None:
        """Judge the message in an answer, shown or not; a board's is judged there once more."""
        asked = (int(body["yesterday_temp"]), int(body["today_temp"]))
        scene = Scene.of(told["season"], told["elements"])
        sign = f"{told['columns']}x{told['lines']}"
        message = Message("answer", told["generated_text"], *asked, time.time(), scene, sign)
        self._tally.remember(message, time.time(), [asked])

    # Observers

    async def _watch(self, url: str) -> None:
        boards = [*self._service.boards, *self._called]
        pause, next_history = LOOK_SECONDS / len(boards), time.monotonic() + HISTORY_SECONDS / 2
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
            while True:
                for board in boards:
                    begin = time.monotonic()
                    await self._tried(lambda board=board: self._look(client, board))  # type: ignore[misc]
                    await asyncio.sleep(max(0.0, begin + pause - time.monotonic()))
                if time.monotonic() > next_history:
                    next_history = time.monotonic() + HISTORY_SECONDS
                    await self._tried(lambda: self._histories(client))

    async def _tried(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look; a gateway that does not answer shows nothing."""
        try:
            await look()
        except httpx.HTTPError:
            await asyncio.sleep(0.1)

    async def _look(self, client: httpx.AsyncClient, board: str) -> None:
        at = time.time()
        answer = await client.get(f"/boards/{board}", params={"blank": "true"})
        if answer.status_code != httpx.codes.OK:
            kind = code_of(answer)
            self._tally.incidents.append(Incident(at, kind, f"a look: {answer.status_code}: {answer.text[:200]}"))
            return
        view = answer.json()
        if view["message"]:
            sign = f"{view['columns']}x{view['lines']}"
            message = message_of(board, view["message"], sign)
            self._tally.saw(message, at, self._service.plan.max_age, self._told[board])

    async def _histories(self, client: httpx.AsyncClient) -> None:
        """Learn the messages of boards with signs that no look has met."""
        for board in self._service.signs.values():
            answer = await client.get(f"/boards/{board}/history")
            for told in answer.json() if answer.status_code == httpx.codes.OK else []:
                self._tally.remember(message_of(board, told, "20x2"), time.time(), self._told[board])

    async def learn_histories(self) -> None:
        """Ask each gateway for the histories once more."""
        for url in self._service.gateways.values():
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
                await self._tried(lambda client=client: self._histories(client))  # type: ignore[misc]

    async def _watch_signs(self) -> None:
        while True:
            for sign, board in self._service.signs.items():
                self._tally.sign_shows(sign, board, self._service.shown_by(sign), time.time())
            await asyncio.sleep(SIGN_SECONDS)


def message_of(board: str, told: dict[str, Any], sign: str) -> Message:
    """Return a message as a gateway tells it."""
    scene = Scene.of(told["season"], told["elements"]) if told["season"] else None
    written = datetime.fromisoformat(told["written_at"]).timestamp()
    return Message(board, told["generated_text"], told["yesterday_temp"], told["today_temp"], written, scene, sign)


def code_of(answer: httpx.Response) -> str:
    """Return the code of a typed error, or `untyped`."""
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        code = answer.json().get("code", "")
        return str(code) if code in KINDS else "untyped"
    return "untyped"

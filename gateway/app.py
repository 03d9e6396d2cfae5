"""The gateway's routes. Each is a few lines: the work is in writer.py, boards.py, passthrough.py and middleware.py."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from core import __version__
from core.errors import SignboardError
from core.reading import Reading
from gateway.admin.overview import Overview
from gateway.admin.park_files import ParkFiles
from gateway.admin.routes import add_admin_routes
from gateway.admin.watch import Parts, Watch
from gateway.api import BatchIn, BatchOut, BoardId, HealthOut, MessageOut, NothingIn, ParkOut, ReadingIn
from gateway.boards import Boards, BoardView, NotShown, TooManyBoards, boot_of_machine
from gateway.follow import Follower
from gateway.keys import Key, Keyring, KeyScope
from gateway.leading import Work, leadership, while_leading
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.middleware import GatewayMiddleware, Rates, request_id
from gateway.observed import BoardMetrics, MachineMetrics
from gateway.overload import Breaker, Queue
from gateway.parks import Parks, today_in
from gateway.passthrough import Passthrough
from gateway.picture_routes import Drawer, add_picture_routes
from gateway.placed import Shown
from gateway.problems import KINDS, ProblemError, documented, problem_of
from gateway.publish import publishing
from gateway.sensor_routes import add_sensor_routes
from gateway.sensors import Sensing, running_station
from gateway.settings import WATCHERS, GatewaySettings
from gateway.sharing import sharing_boards
from gateway.sign_routes import add_sign_routes
from gateway.signs import Signs, knowing_signs
from gateway.state import State, keeping_state
from gateway.traces import Traces
from gateway.writer import Asked, Health, Writer, new_client, ping

PAGE = Path(__file__).parent / "page"
REFUSED = ("no_key", "no_scope", "too_slow", "too_large", "too_many", "wrong_host")  # by the middleware
ALWAYS = (*REFUSED, "bad_input", "not_found", "wrong_method")
ASKING = ("model_down", "busy", "deadline")
WRITING = ("bad_reading", "bad_park", "too_many_boards", "no_message", "model_down", "busy", "deadline")


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return the gateway as an ASGI app."""
    if not settings.ai_mark:
        LOG.warning("no sign says that an AI writes its text: say so elsewhere, where the law asks for it")
    metrics, traces = Metrics(), Traces(settings.traces)
    rates, keyring = Rates(settings.rate_limit, gateways=settings.gateways), Keyring(settings.parsed_keys)
    parks = Parks(settings.parks, settings.park, settings.parsed_sign, settings.timezone)
    boards = Boards(
        settings.parsed_sign, settings.max_age, settings.boards, ai_mark=settings.ai_mark, boot=boot_of_machine()
    )
    app = FastAPIOffline(
        title="Signboard",
        version=__version__,
        summary="Two park temperatures in, one checked Korean message out.",
        lifespan=_lifespan(settings, parks, boards, keyring, metrics, traces),
        middleware=_middleware(settings, metrics, rates, keyring),
        redoc_url=None,
        responses=documented(*ALWAYS),
    )
    app.state.rates = rates
    traces.follow(app)
    for kind in (SignboardError, ProblemError, TooManyBoards, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    _add_messages(app, settings, parks)
    players = [_scope(KeyScope.BOARD, KeyScope.SIGN), Depends(_known_query)]
    add_picture_routes(app, Drawer(settings, boards), players)
    _add_boards(app, boards)
    add_sensor_routes(app, API, [_scope(KeyScope.SENSORS), Depends(_known_query)])
    add_sign_routes(app, API)
    _add_passthrough(app)
    _add_page(app, metrics)
    add_admin_routes(app, boards)
    return app


def _lifespan(
    settings: GatewaySettings, parks: Parks, boards: Boards, keyring: Keyring, metrics: Metrics, traces: Traces
) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        client = new_client(settings, traces)
        breaker = Breaker(lambda: ping(client, settings), settings.failures, settings.probe_seconds)
        queue = Queue(settings.running, settings.waiting)
        sdk_queue = Queue(max(1, settings.running // 2), settings.waiting // 2)
        app.state.health = Health(settings, client, breaker)
        app.state.writer = Writer(settings, client, boards, queue, breaker, metrics, traces.tracer)
        app.state.passthrough = Passthrough(settings, sdk_queue, breaker, traces)
        metrics.gauge("signboard_running", "Requests at the model.", lambda: queue.running)
        metrics.gauge("signboard_waiting", "Requests that wait for a slot.", lambda: queue.waiting)
        metrics.gauge("signboard_breaker_open", "1 while the model is down.", lambda: breaker.open)
        metrics.gauge("signboard_boards", "Boards in memory.", lambda: len(boards))
        metrics.gauge("signboard_watchers", "Open event streams.", lambda: boards.watchers)
        tasks = [asyncio.create_task(_blank_stale(boards))]
        try:
            async with (
                keeping_state(settings, boards, keyring, metrics) as state,
                sharing_boards(state.database, boards, settings.boards),
                leadership(state.database, alone=settings.gateways == 1) as leader,
                knowing_signs(parks.signs(), boards, state, metrics) as app.state.signs,
                running_station(settings, parks.sensors(), state.database, metrics) as sensing,
                while_leading(leader, _works(settings, boards, app.state.signs, sensing, metrics)),
            ):
                app.state.kept = state
                app.state.station = station = sensing.station if sensing else None
                metrics.gauge("signboard_leader", "1: it hears the broker and drives signs.", lambda: leader.leads)
                followed = frozenset(park.board for park in station.parks.values()) if station else frozenset()
                for collector in (BoardMetrics(boards, followed), MachineMetrics(settings)):
                    metrics.registry.register(collector)
                follower = None
                if station:
                    follower = Follower(
                        settings, parks.all(), station, app.state.writer, boards, metrics, lambda: leader.leads
                    )
                    tasks.append(asyncio.create_task(follower.run()))
                app.state.follower = follower
                parts = Parts(metrics.registry, app.state.health, app.state.signs, station, follower)
                watch = Watch(parts, ParkFiles(settings))
                tasks.append(asyncio.create_task(watch.run()))
                app.state.overview = Overview(settings, parks, boards, parts, watch, app.state.passthrough, keyring)
                yield
                await _cancel(tasks)  # before the database is closed
                await app.state.writer.close()
        finally:
            await _cancel(tasks)
            await breaker.close()
            await client.aclose()
            await app.state.passthrough.close()
            await asyncio.to_thread(traces.close)

    return lifespan


def _works(
    settings: GatewaySettings, boards: Boards, signs: Signs, sensing: Sensing | None, metrics: Metrics
) -> list[Work]:
    """Return what only the leader of several gateways does."""
    publish: Work = lambda: publishing(settings, boards, metrics)  # noqa: E731
    return [publish, signs.driving, *([sensing.hearing] if sensing else [])]


def _middleware(settings: GatewaySettings, metrics: Metrics, rates: Rates, keyring: Keyring) -> list[Middleware]:
    stack = [Middleware(GatewayMiddleware, settings=settings, metrics=metrics, rates=rates, keyring=keyring)]
    if settings.cors_origins:
        origins = settings.cors_origins.split()
        stack.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            ),
        )
    return stack


def _scope(*scopes: KeyScope) -> Any:
    """Return the dependency of a route that each of these scopes opens."""

    async def check(request: Request) -> None:  # async, or FastAPI calls it in another thread
        key: Key = request.state.key
        if key.scopes.isdisjoint(scopes):
            raise ProblemError("no_scope", f"This address needs the scope {' or '.join(scopes)}.")

    return Depends(check)


async def _known_query(request: Request) -> None:
    """Reject a query parameter that the route does not know: it would be ignored, and a typo never noticed."""
    known = {parameter.alias for parameter in _query_of(request.scope["route"].dependant)}
    if unknown := set(request.query_params) - known:
        raise ProblemError("bad_input", f"Unknown query parameters: {', '.join(sorted(unknown))}.")


def _query_of(dependant: Any) -> Iterator[Any]:
    yield from dependant.query_params
    for needed in dependant.dependencies:
        yield from _query_of(needed)


BOARD, OPENAI = [_scope(KeyScope.BOARD)], [_scope(KeyScope.OPENAI)]
API = [*BOARD, Depends(_known_query)]


def _add_messages(app: FastAPI, settings: GatewaySettings, parks: Parks) -> None:
    async def write(request: Request, asked: ReadingIn) -> MessageOut:
        writer: Writer = request.app.state.writer
        reading = Reading.of(asked.yesterday_temp, asked.today_temp)
        park = parks.find(asked.park)
        today = today_in(park)
        scene = park.scene(asked.date or today)
        shows = asked.date in (None, today)  # a board shows today's messages only
        wanted = Asked(reading, scene, park, asked.temperature)
        board, key = asked.board if shows else None, request.state.key
        written = await writer.write(wanted, board, request_id.get(), who=key.name)
        if asked.board and not shows:
            written = replace(written, not_shown=NotShown.OTHER_DAY)
        return MessageOut.of(written, asked.board, scene, park.sign, request_id.get())

    @app.get("/health", responses=documented("model_down"))
    async def health(request: Request) -> HealthOut:
        """Check that the model answers a real one-token request; the result is cached for a few seconds."""
        model: Health = request.app.state.health
        state: State = request.app.state.kept
        return HealthOut(
            status="ready",
            model=settings.model_name,
            fingerprint=await model.check(),
            database="down" if state.fault else "up",
        )

    @app.post("/generate/temperature", dependencies=API, responses=documented(*ALWAYS, *WRITING))
    async def generate(asked: ReadingIn, request: Request) -> MessageOut:
        """Write one message."""
        return await write(request, asked)

    @app.get("/parks", dependencies=API)
    async def all_parks() -> list[ParkOut]:
        """The parks that a request may name, each as the model is told of it today."""
        return [
            ParkOut(
                park=name,
                name=park.name,
                season=(scene := park.scene(today_in(park))).season,
                elements=list(scene.elements),
                sign=str(park.sign),
                timezone=park.timezone,
            )
            for name, park in parks.all().items()
        ]

    @app.post("/generate/batch", dependencies=API, responses=documented(*ALWAYS, *WRITING))
    async def batch(asked: BatchIn, request: Request) -> BatchOut:
        """Write many messages; each gets its own answer, a message or a problem."""
        request.app.state.rates.hit(request.state.key, len(asked.readings) - 1)
        answers = await asyncio.gather(*(write(request, reading) for reading in asked.readings), return_exceptions=True)
        return BatchOut(
            results=[
                answer if isinstance(answer, MessageOut) else _problem(answer).body(request_id.get())
                for answer in answers
            ]
        )


def _add_boards(app: FastAPI, boards: Boards) -> None:
    @app.get("/boards/{board}", dependencies=API)
    async def board_view(
        board: BoardId,
        blank: Annotated[
            bool, Query(description="A blank view, not 404, for a board that never showed a message.")
        ] = False,
    ) -> BoardView:
        """A board's current message, its age and its reading."""
        view = boards.view(board, blank=blank)
        if view is None:
            raise ProblemError("not_found", "This board never showed a message.")
        return view

    @app.post("/boards/{board}/forget", dependencies=API, status_code=204)
    async def forget(board: BoardId, _wish: NothingIn, request: Request) -> None:
        """Blank a board and forget it with its history, such as one that is not used any more."""
        if not boards.forget(board, request.state.key.name):
            raise ProblemError("not_found", "This board never showed a message.")
        kept: State = request.app.state.kept
        await kept.keeper.settled()  # or a crash would bring it back

    @app.get("/boards/{board}/history", dependencies=API, responses=documented(*ALWAYS, "store_down"))
    async def history(board: BoardId, request: Request) -> list[Shown]:
        """A board's last 50 messages, newest first."""
        kept: State = request.app.state.kept
        return await asyncio.to_thread(kept.board_store.history, board)

    @app.get("/events", dependencies=API, response_class=EventSourceResponse, responses=documented(*ALWAYS, "busy"))
    async def events(board: Annotated[BoardId | None, Query()] = None) -> EventSourceResponse:
        """Server-sent events: `board` with a board's view, immediately and at every change."""
        if boards.watchers >= WATCHERS:
            raise ProblemError("busy", "Too many event streams are open.")

        async def stream() -> AsyncIterator[ServerSentEvent]:
            async for view in boards.watch(board):
                yield ServerSentEvent(view.model_dump_json(), event="board", retry=1000)

        # Pings are named events, so that a watcher can tell a quiet stream from a dead one.
        return EventSourceResponse(
            stream(), ping=15, ping_message_factory=lambda: ServerSentEvent(event="ping", data="")
        )


def _add_passthrough(app: FastAPI) -> None:
    @app.post(
        "/v1/chat/completions",
        dependencies=OPENAI,
        responses=documented("unsupported", "model_down", "busy", "deadline"),
    )
    async def chat(request: Request) -> Response:
        """OpenAI's chat completions: vLLM's answers, unchecked."""
        passthrough: Passthrough = request.app.state.passthrough
        return await passthrough.forward(request, "chat/completions")

    @app.get(
        "/v1/models/{name:path}", dependencies=OPENAI, responses=documented(*ALWAYS, "model_down", "busy", "deadline")
    )
    async def model(name: str, request: Request) -> Response:
        """OpenAI's entry of one model."""
        passthrough: Passthrough = request.app.state.passthrough
        return await passthrough.model(request, name)

    @app.get("/v1/models", dependencies=OPENAI, responses=documented(*ASKING))
    async def models(request: Request) -> Response:
        """OpenAI's list of models."""
        passthrough: Passthrough = request.app.state.passthrough
        return await passthrough.forward(request, "models")


def _add_page(app: FastAPI, metrics: Metrics) -> None:
    files = {path.name: path for path in PAGE.iterdir()}

    @app.get("/metrics", dependencies=BOARD, response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Prometheus metrics."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", dependencies=BOARD, include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(files["index.html"])

    @app.get("/page/{name}", dependencies=BOARD, include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        if name not in files:
            raise ProblemError("not_found")
        return FileResponse(files[name])


async def _answer_problem(request: Request, error: Exception) -> Response:
    return _problem(error).response(request_id.get(), request.url.path)


def _problem(error: BaseException) -> ProblemError:
    if isinstance(error, TooManyBoards):
        return ProblemError("too_many_boards")
    if isinstance(error, RequestValidationError):  # without the input: it may be a NaN, which JSON cannot carry
        wrong = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        return ProblemError("bad_input", wrong)
    if isinstance(error, HTTPException):
        # FastAPI's 400 is a body that cannot be read: bad input, as every status that we have no problem for.
        codes = {kind[0]: code for code, kind in reversed(KINDS.items()) if code != "unsupported"}
        code = codes.get(error.status_code, "bad_input")
        return ProblemError(code, str(error.detail), dict(error.headers or {}))
    found = problem_of(error)
    if found.code == "internal":
        LOG.error("unexpected error in the gateway", exc_info=error, extra={"request_id": request_id.get()})
    return found


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    while tasks:
        task = tasks.pop()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _blank_stale(boards: Boards) -> None:
    while True:
        await asyncio.sleep(1)
        boards.blank_stale()

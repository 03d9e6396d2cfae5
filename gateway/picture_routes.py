"""The signs' routes: a board's pages as dots, its picture, and the kiosk page with its service worker."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from core import __version__
from core.errors import SettingError
from gateway.api import BoardId
from gateway.boards import Boards, BoardView
from gateway.log import LOG
from gateway.look import Look, parse_colour
from gateway.middleware import KIOSK_POLICY
from gateway.pictures import PAGE_SECONDS, SCROLL_SPEED, Wanted, corner_mark, pages_of, png_of, profile_of
from gateway.problems import ProblemError, documented
from gateway.settings import GatewaySettings
from signs.errors import NotDrawable
from signs.raster import Font, SignProfile

KIOSK = Path(__file__).parent / "kiosk"
SHELL, WORKER = "kiosk.html", "worker.js"  # both carry the build
# Files that the page and the player need besides, without a key. The font: for players without a Korean one.
PUBLIC = {
    "icon.svg": KIOSK.parent / "page/icon.svg",
    "start.html": KIOSK / "start.html",
    Font.DOTS_16.path.name: Font.DOTS_16.path,
}
LARGEST = 2048  # dots of a side


class PageOut(BaseModel):
    """One page as a sign shows it."""

    lines: list[str]
    width: int = Field(description="Dots; a scrolling sign's page is as wide as its text.")
    bits: str = Field(description="Base64: the rows from the top, eight dots in a byte, the left one highest.")


class BrightnessOut(BaseModel):
    """A brightness from a moment on."""

    seconds: float = Field(description="From now.")
    percent: int


class FramesOut(BaseModel):
    """What a sign shows: its pages in turn, and until when. Without pages it is blank."""

    board: str
    build: str = Field(description="Of the kiosk page; the page reloads itself when it changes.")
    width: int
    height: int
    pages: list[PageOut]
    scroll: bool
    page_seconds: float
    scroll_speed: int = Field(description="Dots a second.")
    age: float | None = Field(description="Seconds since the message was written: it says which page is on.")
    blank_at: datetime | None
    seconds_left: float | None
    colour: list[int] = Field(description="Red, green, blue of a lit dot at full brightness.")
    brightness: list[BrightnessOut] = Field(description="Now, and its changes within a day.")
    mark: str | None = Field(description="The AI mark, if it stands in a corner of every page.")
    ai_generated: Literal[True] = Field(default=True, description="For machines: an AI wrote the text.")
    problem: str | None = Field(description="Why the sign is blank though there is a message.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for; None: as the park and the settings say."""

    width: int | None
    height: int | None
    font: Font | None
    scroll: bool | None
    colour: tuple[int, int, int] | None
    brightness: int | None


def _asked(
    width: Annotated[int | None, Query(ge=8, le=LARGEST, description="Dots; with `height`.")] = None,
    height: Annotated[int | None, Query(ge=8, le=LARGEST, description="Dots; with `width`.")] = None,
    font: Annotated[Font | None, Query(description="The height of a line in dots; the largest that fits.")] = None,
    scroll: Annotated[bool | None, Query(description="Whether the text runs; by default as the park's sign.")] = None,
    colour: Annotated[str | None, Query(description="Of lit dots, in hex.", examples=["ffb000"])] = None,
    brightness: Annotated[int | None, Query(ge=0, le=100, description="Percent, day and night.")] = None,
) -> Asked:
    if (width is None) is not (height is None):
        raise ProblemError("bad_input", "Give width and height, or neither.")
    try:
        return Asked(width, height, font, scroll, parse_colour(colour) if colour else None, brightness)
    except SettingError as error:
        raise ProblemError("bad_input", error.what) from error


class Drawer:
    """Draws boards as an address asks for them.

    Args:
        settings: the look of signs, the AI mark, and the time zone of boards without a park.
        boards: have the views.
        now: the wall clock.
    """

    def __init__(
        self, settings: GatewaySettings, boards: Boards, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._boards = boards
        self._now = now
        self._refused: dict[str, str] = {}  # board → its last text that a sign could not show, logged once

    async def frames(self, board: str, asked: Asked, build: str) -> FramesOut:
        """Return a board's pages; a text that the sign cannot show leaves it blank, and says why.

        Raises:
            ProblemError: no font fits the size.
        """
        view, wanted = self._look_at(board, asked)
        look, problem = self._look(asked), None
        try:
            pages = await run_in_threadpool(pages_of, view, wanted)
        except NotDrawable as error:
            pages, problem = (), error.what
            self._log_refused(view, wanted)
        return FramesOut(
            board=board,
            build=build,
            width=wanted.profile.width,
            height=wanted.profile.height,
            pages=[PageOut(lines=list(page.lines), width=page.dots.width, bits=page.bits) for page in pages],
            scroll=wanted.scroll,
            page_seconds=PAGE_SECONDS,
            scroll_speed=SCROLL_SPEED,
            age=view.age if pages else None,
            blank_at=view.blank_at if pages else None,
            seconds_left=view.seconds_left if pages else None,
            colour=list(look.colour),
            brightness=[
                BrightnessOut(seconds=seconds, percent=percent)
                for seconds, percent in look.changes(self._now(), self._timezone(view))
            ],
            mark=corner_mark(pages, wanted),
            problem=problem,
        )

    async def png(self, board: str, asked: Asked, page: int | None) -> bytes:
        """Return a board's picture: a page, or what its sign shows now.

        Raises:
            ProblemError: no font fits the size, there is no such page, or the sign cannot show the text.
        """
        view, wanted = self._look_at(board, asked)
        look = self._look(asked)
        try:
            rgb = look.rgb(look.brightness_at(self._now(), self._timezone(view)))
            return await run_in_threadpool(png_of, view, wanted, rgb, page)  # a large one takes a tenth of a second
        except IndexError as error:
            raise ProblemError("not_found", "The board has no such page now.") from error
        except NotDrawable as error:
            raise ProblemError("not_drawable", error.what) from error

    def _log_refused(self, view: BoardView, wanted: Wanted) -> None:
        text = view.message.generated_text if view.message else ""
        if self._refused.get(view.board) != text:
            self._refused[view.board] = text
            LOG.warning("the sign cannot show the message", extra={"board": view.board, "sign": str(wanted.profile)})

    def _look_at(self, board: str, asked: Asked) -> tuple[BoardView, Wanted]:
        view = self._boards.view(board, blank=True)
        assert view  # noqa: S101 - a blank one was asked for
        scroll = asked.scroll if asked.scroll is not None else view.lines == 0
        return view, Wanted(_profile(view, asked), scroll, self._settings.ai_mark)

    def _look(self, asked: Asked) -> Look:
        look = self._settings.look
        if asked.brightness is not None:
            look = replace(look, brightness=asked.brightness, night="")
        return replace(look, colour=asked.colour) if asked.colour else look

    def _timezone(self, view: BoardView) -> str:
        return view.timezone or self._settings.timezone


def _profile(view: BoardView, asked: Asked) -> SignProfile:
    own = profile_of(view.sign)
    size = f"{asked.width or own.width}x{asked.height or own.height}"
    try:
        return SignProfile.parse(f"{size}:{asked.font.value}" if asked.font else size)
    except SettingError as error:
        raise ProblemError("bad_input", error.what) from error


def build_of_kiosk() -> str:
    """Return a name of the kiosk page's files: another one whenever one of them changes."""
    digest = hashlib.sha256(__version__.encode())
    for path in sorted(KIOSK.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def add_picture_routes(app: FastAPI, drawer: Drawer, look: list[Any]) -> None:
    """Add the routes.

    Args:
        app: gets them; before `/boards/{board}`, which would take `main.png` for a board's name.
        drawer: draws the boards.
        look: the dependencies of routes that show a board.
    """
    build = build_of_kiosk()
    _add_pictures(app, drawer, look, build)
    _add_kiosk(app, build)


def _add_pictures(app: FastAPI, drawer: Drawer, look: list[Any], build: str) -> None:
    @app.get(
        "/boards/{board}.png",
        dependencies=look,
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **documented("not_found", "bad_input", "not_drawable")},
    )
    async def picture(
        board: BoardId,
        request: Request,
        asked: Annotated[Asked, Depends(_asked)],
        page: Annotated[int | None, Query(ge=0, description="From 0; by default what the sign shows now.")] = None,
    ) -> Response:
        """A board's picture in dots, exactly as large as its sign; black on a blank board."""
        body = await drawer.png(board, asked, page)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if tag in known or "*" in known:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="image/png", headers={"ETag": tag})

    @app.get("/boards/{board}/frames", dependencies=look, responses=documented("bad_input"))
    async def frames(board: BoardId, asked: Annotated[Asked, Depends(_asked)]) -> FramesOut:
        """A board's pages in dots, for a sign that draws them itself; without pages it is blank."""
        return await drawer.frames(board, asked, build)


def _add_kiosk(app: FastAPI, build: str) -> None:
    # A proxy's or a hotel's page has no such header; the service worker keeps only what has it.
    told = {"X-Signboard-Build": build}
    page, policy = _whole_page(build)
    worker_text = (KIOSK / WORKER).read_text(encoding="utf-8").replace("{build}", build)

    @app.get(f"/sign/{WORKER}", include_in_schema=False)
    async def worker() -> Response:
        return Response(worker_text, media_type="text/javascript; charset=utf-8", headers=told)

    @app.get("/sign/{name}", include_in_schema=False)
    async def kiosk(name: str) -> Response:
        """Send a file if the name has a full stop, else the page: it is the same for every board."""
        if "." not in name or name == SHELL:
            headers = told | {"Content-Security-Policy": policy}
            return Response(page, media_type="text/html; charset=utf-8", headers=headers)
        if name not in PUBLIC:
            raise ProblemError("not_found")
        return FileResponse(PUBLIC[name], headers=told)


def _whole_page(build: str) -> tuple[str, str]:
    """Return the page with script and style in it, and the policy that allows exactly these two.

    One file comes as a whole or not at all: a page without its script would stay black for ever.
    """
    script, style = ((KIOSK / name).read_text(encoding="utf-8") for name in ("kiosk.js", "kiosk.css"))
    text = (KIOSK / SHELL).read_text(encoding="utf-8").replace("{build}", build)
    allowed = {name: f"'sha256-{_digest(part)}'" for name, part in (("script", script), ("style", style))}
    policy = f"{KIOSK_POLICY}; script-src 'self' {allowed['script']}; style-src 'self' {allowed['style']}"
    return text.replace("{script}", script).replace("{style}", style), policy


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

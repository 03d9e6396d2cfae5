"""The administrator's routes: the page, its overview, and what an administrator may do.

Every action goes through what drives boards and signs anyway, is admitted by the scope `admin` only, takes JSON from
this site's pages only, and is recorded.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.audit import audit
from gateway.admin.overview import Overview, OverviewOut
from gateway.api import BoardId, NothingIn
from gateway.audit import What
from gateway.boards import Boards, BoardView
from gateway.follow import Follower
from gateway.keys import Key, KeyScope
from gateway.problems import ProblemError, documented
from gateway.sign_routes import SignOut
from gateway.signs import SignKeeper, State

PAGE = Path(__file__).parent / "page"
MAIN_PAGE = Path(__file__).parents[1] / "page"
SHARED = ("style.css", "icon.svg", "common.js", "texts.js")  # of the board's page, which needs another scope
DAY_MINUTES = 24 * 60


class BlankIn(BaseModel):
    """For how long a board or a sign is kept blank."""

    model_config = ConfigDict(extra="forbid")  # a field that is ignored is a wish misunderstood

    minutes: int = Field(default=60, ge=1, le=DAY_MINUTES, strict=True)


def _admin(request: Request) -> Key:
    key: Key = request.state.key
    if KeyScope.ADMIN not in key.scopes:
        raise ProblemError("no_scope", f"This address needs the scope {KeyScope.ADMIN}.")
    return key


def _own_site(request: Request) -> None:
    """Refuse what a browser sends for another site's page, even for one that may use the API."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ProblemError("no_scope", "Only this site's own page may do this.")


Admin = Annotated[Key, Depends(_admin)]


def add_admin_routes(app: FastAPI, boards: Boards) -> None:
    """Add the routes.

    Args:
        app: has `state.overview`, `state.signs` and `state.follower`.
        boards: all boards.
    """
    _add_page(app)
    _add_board_actions(app, boards)
    _add_sign_actions(app)


def _add_page(app: FastAPI) -> None:
    files = {path.name: path for path in PAGE.iterdir()} | {name: MAIN_PAGE / name for name in SHARED}

    @app.get("/admin", dependencies=[Depends(_admin)], include_in_schema=False)
    async def admin_page() -> FileResponse:
        return FileResponse(files["admin.html"])

    @app.get("/admin/page/{name}", dependencies=[Depends(_admin)], include_in_schema=False)
    async def admin_page_file(name: str) -> FileResponse:
        if name not in files:
            raise ProblemError("not_found")
        return FileResponse(files[name])

    @app.get("/admin/overview", dependencies=[Depends(_admin)])
    async def overview(request: Request) -> OverviewOut:
        """What is wrong now, and every board, sensor, sign, park, key and version."""
        built: Overview = request.app.state.overview
        return await built.now()


def _add_board_actions(app: FastAPI, boards: Boards) -> None:
    def known(request: Request, board: str) -> str:
        built: Overview = request.app.state.overview
        if board not in built.board_names():
            raise ProblemError("not_found", "There is no such board.")
        return board

    own = [Depends(_own_site)]

    @app.post(
        "/admin/boards/{board}/blank",
        dependencies=own,
        responses=documented("bad_input", "not_found", "too_many_boards"),
    )
    async def blank_board(board: BoardId, wish: BlankIn, _key: Admin, request: Request) -> BoardView:
        """Blank a board now and keep it blank for so many minutes; its message never comes back."""
        until = boards.blank_for(known(request, board), 60.0 * wish.minutes)
        await audit(request, What.BOARD_BLANKED, board, f"until {until:%Y-%m-%dT%H:%MZ}")
        return boards.view_of(board)

    @app.post("/admin/boards/{board}/unblank", dependencies=own, responses=documented("bad_input", "not_found"))
    async def unblank_board(board: BoardId, _wish: NothingIn, _key: Admin, request: Request) -> BoardView:
        """Let a board show its next message."""
        boards.unblank(known(request, board))
        await audit(request, What.BOARD_UNBLANKED, board)
        return boards.view_of(board)

    @app.post(
        "/admin/boards/{board}/message",
        dependencies=own,
        responses=documented(
            "bad_input", "not_found", "no_reading", "too_many_boards", "no_message", "model_down", "busy", "deadline"
        ),
    )
    async def new_message(board: BoardId, _wish: NothingIn, _key: Admin, request: Request) -> BoardView:
        """Request a new message for what a board's sensors say now. Other boards' callers do that themselves."""
        built: Overview = request.app.state.overview
        follower: Follower | None = request.app.state.follower
        park = built.park_of(known(request, board))
        if park is None or follower is None:
            raise ProblemError(
                "no_reading", "This board follows no sensors; whoever sends its readings requests messages."
            )
        await audit(request, What.MESSAGE_REQUESTED, board)
        if missing := await follower.write_now(park):
            raise ProblemError("no_reading", f"The park's sensors give no reading: {missing}.")
        return boards.view_of(board)


def _add_sign_actions(app: FastAPI) -> None:
    def keeper_of(request: Request, sign: str) -> SignKeeper:
        keeper: SignKeeper | None = request.app.state.signs.keepers.get(sign)
        if keeper is None:
            raise ProblemError("not_found", "There is no such sign.")
        if keeper.delivery.state is State.STANDBY:
            raise ProblemError("bad_input", "Another gateway drives this sign: use that one's page.")
        return keeper

    own = [Depends(_own_site)]

    @app.post("/admin/signs/{sign}/blank", dependencies=own, responses=documented("bad_input", "not_found"))
    async def blank_sign(sign: BoardId, wish: BlankIn, _key: Admin, request: Request) -> SignOut:
        """Blank one sign now and keep it blank for so many minutes; its board and other signs go on."""
        keeper = keeper_of(request, sign)
        until: datetime = keeper.blank_for(60.0 * wish.minutes)
        await audit(request, What.SIGN_BLANKED, sign, f"until {until:%Y-%m-%dT%H:%MZ}")
        return SignOut.of(keeper)

    @app.post("/admin/signs/{sign}/unblank", dependencies=own, responses=documented("bad_input", "not_found"))
    async def unblank_sign(sign: BoardId, _wish: NothingIn, _key: Admin, request: Request) -> SignOut:
        """Let a sign follow its board again."""
        keeper = keeper_of(request, sign)
        keeper.unblank()
        await audit(request, What.SIGN_UNBLANKED, sign)
        return SignOut.of(keeper)

"""The signs' routes: what every sign confirmed, for people and monitoring."""

from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from gateway.api import BoardId
from gateway.signs import SignKeeper, State


class SignOut(BaseModel):
    """How a sign is."""

    sign: str
    board: str
    park: str
    driver: str
    address: str
    state: State = Field(
        description="failed: it did not confirm the last command, so what it shows is unknown. "
        "standby: another gateway drives it."
    )
    text: str | None = Field(description="The message of which it confirmed a page last; null: blank, or unknown.")
    sent_at: datetime | None = Field(description="When something was sent last.")
    confirmed_at: datetime | None = Field(description="When it confirmed something last.")
    failed_since: datetime | None = Field(description="Since when it has not confirmed; null: it does.")
    error: str | None = Field(description="What is wrong.")
    todo: str | None = Field(description="What to do about it.")
    blanked_until: datetime | None = Field(description="Until when an administrator keeps it blank; null: nobody does.")
    results: dict[str, int] = Field(description="Commands since the gateway started: confirmed, failed, refused.")

    @classmethod
    def of(cls, keeper: SignKeeper) -> "SignOut":
        """Return a sign as it is sent."""
        sign, delivery = keeper.sign, keeper.delivery
        return cls(
            sign=sign.name,
            board=sign.board,
            park=sign.park,
            driver=sign.told.driver,
            address=sign.address,
            state=delivery.state,
            text=delivery.text,
            sent_at=delivery.sent_at,
            confirmed_at=delivery.confirmed_at,
            failed_since=delivery.failed_since,
            error=delivery.error,
            todo=delivery.todo,
            blanked_until=keeper.blanked_until,
            results=dict(delivery.results),
        )


def add_sign_routes(app: FastAPI, look: list[Any]) -> None:
    """Add the routes.

    Args:
        app: has the keepers as `state.signs`.
        look: their dependencies.
    """

    @app.get("/signs", dependencies=look)
    async def all_signs(request: Request) -> list[SignOut]:
        """All signs, each with what it confirmed."""
        return [SignOut.of(keeper) for keeper in request.app.state.signs.keepers.values()]

    @app.get("/boards/{board}/signs", dependencies=look)
    async def signs_of_a_board(board: BoardId, request: Request) -> list[SignOut]:
        """The signs that show a board."""
        return [SignOut.of(keeper) for keeper in request.app.state.signs.keepers.values() if keeper.sign.board == board]

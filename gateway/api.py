"""Request and response bodies. The original's two response fields stay; all other fields are optional or added."""

import re
from datetime import date as DateOnly  # noqa: N812 - `date` is a field below
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.park import Scene
from core.season import Season
from core.sign import Sign
from gateway.problems import ProblemDetails
from gateway.settings import BATCH, NAME
from gateway.writer import Written


def _only_a_date(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("write the date as 2026-05-31")
    return value


BoardId = Annotated[str, Field(pattern=f"^{NAME}$")]
Degrees = Annotated[
    float, Field(allow_inf_nan=False, strict=True, examples=[10, 20], description="°C, -35…45, and at most 25 apart.")
]
ParkId = BoardId
# As text only: pydantic takes a number for seconds since 1970, and the season would be another one.
Day = Annotated[DateOnly, BeforeValidator(_only_a_date)]
MAIN = "main"


class NothingIn(BaseModel):
    """An empty object: a browser lets another site's page send JSON only if the gateway allows that site."""

    model_config = ConfigDict(extra="forbid")


class ReadingIn(BaseModel):
    """Two temperatures in °C, and the board that shows the message."""

    model_config = ConfigDict(extra="forbid")  # a field that is ignored is a reading misunderstood

    yesterday_temp: Degrees
    today_temp: Degrees
    board: BoardId | None = Field(default=MAIN, description="The board that shows the message; null: none.")
    park: ParkId | None = Field(default=None, description="The park's file in parks/; by default the gateway's.")
    date: Day | None = Field(default=None, description="The day, for its season; by default today.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = Field(
        default=None, description="Sampling temperature; by default the checkpoint's own."
    )


class MessageOut(BaseModel):
    """A message that passed every check, as the model wrote it."""

    generated_text: str
    generation_time: float = Field(description="Seconds.")
    tries: int = Field(description="Samples requested from the model.")
    warnings: list[str] = Field(description="Why no board shows it, if one was named; words not in the catalogue.")
    board: str | None = Field(description="The board that shows it; null: none does.")
    pages: list[list[str]] = Field(description="The pages that the sign shows in turn, each as its lines.")
    columns: int
    lines: int
    season: Season
    elements: list[str] = Field(description="What the model was told is in the park.")
    ai_generated: Literal[True] = Field(default=True, description="For machines: an AI wrote the text.")
    request_id: str

    @classmethod
    def of(cls, written: Written, board: str | None, scene: Scene, sign: Sign, request_id: str) -> "MessageOut":
        """Return the response for a message; if the board does not show it, `board` is null and a warning says why."""
        message = written.message
        warnings = []
        if written.not_shown:
            warnings.append(f"The board {board} does not show this message: {written.not_shown}.")
        if message.unknown:
            warnings.append(f"Words that the catalogue does not have: {', '.join(message.unknown)}.")
        return cls(
            generated_text=message.text,
            generation_time=round(message.seconds, 4),
            tries=message.tries,
            warnings=warnings,
            board=None if written.not_shown else board,
            pages=sign.pages(message.text),
            columns=sign.columns,
            lines=sign.lines,
            season=scene.season,
            elements=list(scene.elements),
            request_id=request_id,
        )


class BatchIn(BaseModel):
    """Many readings at once."""

    model_config = ConfigDict(extra="forbid")  # a field that is ignored is a reading misunderstood

    readings: Annotated[list[ReadingIn], Field(min_length=1, max_length=BATCH)]


class BatchOut(BaseModel):
    """A message or a problem for each reading, in their order."""

    results: list[MessageOut | ProblemDetails]


class HealthOut(BaseModel):
    """The state of a model that answers."""

    status: str
    model: str
    fingerprint: str
    database: Literal["up", "down"] = Field(description="down: boards are shown from memory, and stored later.")


class ParkOut(BaseModel):
    """A park as the model is told of it today."""

    park: str
    name: str
    season: Season
    elements: list[str]
    sign: str
    timezone: str

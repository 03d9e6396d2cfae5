"""Request and response bodies. The original's two response fields stay; all other fields are optional or added."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.sign import Sign
from gateway.problems import ProblemDetails
from gateway.settings import BATCH
from gateway.writer import Written

BoardId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Degrees = Annotated[
    float, Field(allow_inf_nan=False, strict=True, examples=[10, 20], description="°C, -20…45, and at most 25 apart.")
]
MAIN = "main"


class ReadingIn(BaseModel):
    """Two temperatures in °C, and the board that shows the message."""

    model_config = ConfigDict(extra="forbid")  # a field that is ignored is a reading misunderstood

    yesterday_temp: Degrees
    today_temp: Degrees
    board: BoardId | None = Field(default=MAIN, description="The board that shows the message; null: none.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = Field(
        default=None, description="Sampling temperature; by default the checkpoint's own."
    )


class MessageOut(BaseModel):
    """A message that passed every check, as the model wrote it."""

    generated_text: str
    generation_time: float = Field(description="Seconds.")
    tries: int = Field(description="Samples requested from the model.")
    warnings: list[str] = Field(description="Why no board shows the message, if one was named.")
    board: str | None = Field(description="The board that shows it; null: none does.")
    pages: list[list[str]] = Field(description="The pages that the sign shows in turn, each as its lines.")
    columns: int
    lines: int
    request_id: str

    @classmethod
    def of(cls, written: Written, board: str | None, sign: Sign, request_id: str) -> "MessageOut":
        """Return the response for a message; if the board does not show it, `board` is null and a warning says why."""
        message = written.message
        warnings = []
        if written.not_shown:
            warnings.append(f"The board {board} does not show this message: {written.not_shown}.")
        return cls(
            generated_text=message.text,
            generation_time=round(message.seconds, 4),
            tries=message.tries,
            warnings=warnings,
            board=None if written.not_shown else board,
            pages=sign.pages(message.text),
            columns=sign.columns,
            lines=sign.lines,
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

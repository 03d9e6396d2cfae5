"""Errors as RFC 9457 problem details, in Korean and English, each with a code that callers may rely on."""

from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from core.errors import MessageError, ParkError, ReadingError, ServerTimeout, ServiceError, SignboardError
from database.faults import DatabaseError
from gateway.overload import Busy, ModelDown

MEDIA_TYPE = "application/problem+json"
OPENAI_PATHS = "/v1"
SERVER_ERROR = 500  # and every status above
RETRY_AFTER = 2  # seconds, where nothing better is known

# code → status, Korean, English
KINDS: dict[str, tuple[int, str, str]] = {
    "bad_input": (422, "요청 형식이 올바르지 않습니다", "The request cannot be used"),
    "bad_reading": (422, "기온 값이 올바르지 않습니다", "A temperature cannot be used"),
    "bad_park": (422, "공원 정보를 쓸 수 없습니다", "The park cannot be used"),
    "too_many_boards": (422, "전광판을 더 추가할 수 없습니다", "There are too many boards"),
    "bad_observation": (422, "관측값을 읽을 수 없습니다", "No observation could be read"),
    "no_reading": (409, "표출할 기온이 없습니다", "There is no reading to write for"),
    "not_drawable": (422, "전광판에 표시할 수 없는 문구입니다", "The sign cannot show the message"),
    "unsupported": (400, "지원하지 않는 요청 항목입니다", "The request asks for an unsupported feature"),
    "no_key": (401, "API 키가 없거나 맞지 않습니다", "The API key is missing or wrong"),
    "no_scope": (403, "이 키에는 해당 권한이 없습니다", "The API key lacks the scope for this address"),
    "not_found": (404, "주소 또는 전광판을 찾을 수 없습니다", "There is no such address or board"),
    "wrong_host": (421, "이 호스트 이름으로는 접속할 수 없습니다", "The gateway does not accept this host name"),
    "wrong_method": (405, "이 주소에서 쓸 수 없는 메서드입니다", "The address does not allow this method"),
    "too_slow": (408, "요청이 제때 도착하지 않았습니다", "The request arrived too slowly"),
    "too_large": (413, "요청이 너무 큽니다", "The request is too large"),
    "too_many": (429, "요청 한도를 넘었습니다", "There are too many requests"),
    "no_message": (
        502,
        "검사를 통과한 문구를 얻지 못했습니다",
        "The model wrote no message that passed the checks",
    ),
    "model_down": (503, "모델 서버가 응답하지 않습니다", "The model does not answer"),
    "store_down": (503, "데이터베이스를 쓸 수 없습니다", "The database cannot be used"),
    "gateway_down": (503, "게이트웨이가 응답하지 않습니다", "No gateway answers"),  # deploy/haproxy says it
    "busy": (503, "대기 중인 요청이 너무 많습니다", "Too many requests are waiting"),
    "deadline": (504, "제한 시간 안에 문구를 만들지 못했습니다", "There was no message before the deadline"),
    "internal": (500, "게이트웨이 내부 오류가 발생했습니다", "The gateway itself failed"),
}


class ProblemDetails(BaseModel):
    """RFC 9457 problem details; `title_en` and `code` are our extension members."""

    type: str
    title: str
    title_en: str
    status: int
    detail: str
    code: str
    request_id: str = ""


@dataclass
class ProblemError(Exception):
    """An error with a code.

    Args:
        code: one of `KINDS`.
        detail: what went wrong this time, in English.
        headers: extra headers of the response.
    """

    code: str
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, request_id: str = "") -> ProblemDetails:
        """Return the problem as it is sent."""
        status, korean, english = KINDS[self.code]
        return ProblemDetails(
            type=f"urn:signboard:problem:{self.code}",
            title=korean,
            title_en=english,
            status=status,
            detail=self.detail or english + ".",
            code=self.code,
            request_id=request_id,
        )

    def response(self, request_id: str = "", path: str = "") -> JSONResponse:
        """Return the response to a request that failed; under /v1 also in the form that OpenAI's SDKs read."""
        body = self.body(request_id)
        content = body.model_dump()
        if path.startswith(OPENAI_PATHS):
            content["error"] = {
                "message": f"{body.title_en}: {body.detail}",
                "type": "server_error" if body.status >= SERVER_ERROR else "invalid_request_error",
                "param": None,
                "code": body.code,
            }
        headers = dict(self.headers)
        if body.status == 503:
            headers.setdefault("Retry-After", str(RETRY_AFTER))
        return JSONResponse(content, body.status, headers, media_type=MEDIA_TYPE)


def problem_of(error: BaseException) -> ProblemError:
    """Return the problem that callers get for an error of our own tree."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, MessageError):  # without the rejected text: nobody may see a text that failed its checks
        reasons = sorted({str(found.problem) for sample in error.rejected for found in sample.problems})
        return ProblemError("no_message", f"{len(error.rejected)} samples were rejected: {', '.join(reasons)}.")
    detail = error.what if isinstance(error, SignboardError) else ""
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (ReadingError, "bad_reading"),
        (ParkError, "bad_park"),
        (DatabaseError, "store_down"),
        (Busy, "busy"),
        (ModelDown, "model_down"),
        (ServerTimeout, "deadline"),
        (TimeoutError, "deadline"),
        (ServiceError, "model_down"),
    )
    for kind, code in kinds:
        if isinstance(error, kind):
            return ProblemError(code, detail)
    return ProblemError("internal")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entry for a route's problems."""
    statuses = sorted({KINDS[code][0] for code in codes})
    return {
        status: {
            "description": " / ".join(KINDS[code][2] for code in codes if KINDS[code][0] == status),
            "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
        }
        for status in statuses
    }

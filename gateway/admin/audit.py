"""What administrators did: an entry in the audit log for each action, and a line in the gateway's log."""

import asyncio
from datetime import UTC, datetime

from starlette.requests import Request

from core.errors import SignboardError
from gateway.audit import Entry, What
from gateway.log import LOG
from gateway.middleware import request_id
from gateway.state import State


async def audit(request: Request, what: What, subject: str, detail: str = "") -> None:
    """Record that a request's key did something to a board or a sign; every action calls this, and nothing else.

    An action counts though the database is down: a blank sign must not wait for it. The line in the log remains.
    """
    entry = Entry(datetime.now(UTC), request.state.key.name, what, subject, detail)
    told = {"key": entry.who, "action": what.value, "subject": subject, "detail": detail}
    LOG.info("admin action", extra=told | {"request_id": request_id.get()})
    state: State = request.app.state.kept
    try:
        await asyncio.to_thread(state.audit.add, entry)
    except SignboardError as error:
        LOG.warning("the audit log could not be written", extra={"why": error.what})

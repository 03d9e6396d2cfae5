"""What administrators did: one line in the log for each action, with the key's name."""

from typing import Any

from gateway.keys import Key
from gateway.log import LOG
from gateway.middleware import request_id


def audit(key: Key, action: str, subject: str, **details: Any) -> None:
    """Record that the owner of a key did something to a board or a sign; every action calls this, and nothing else."""
    LOG.info(
        "admin action",
        extra={"key": key.name, "action": action, "subject": subject, "request_id": request_id.get(), **details},
    )

"""No network at run time: what keeps the libraries from looking anything up or telling anybody."""

import os

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def go_offline() -> None:
    """Set this process's environment; to be called before any of those libraries is imported, which read it once."""
    os.environ.update(OFFLINE)

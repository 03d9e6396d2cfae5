"""The environment of every process that loads torch, transformers or vLLM: offline, with idle threads asleep."""

import os

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
# Idle OpenMP threads sleep at barriers instead of spinning, which a busy machine pays for (docs/LOG.md); and libraries'
# advice stays out of the user's terminal.
POLITE = {"OMP_WAIT_POLICY": "PASSIVE", "TRANSFORMERS_VERBOSITY": "error"}


def prepare_environment() -> None:
    """Set this process's environment; call this before importing those libraries, because they read it only once."""
    os.environ.update(OFFLINE)
    for name, value in POLITE.items():
        os.environ.setdefault(name, value)

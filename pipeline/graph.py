"""The stage graph: the command that makes each artefact, and the artefacts that it must be made from."""

# Stage (also the artefact's folder under runs/<recipe>) → the command that makes it. Errors name it.
MADE_BY = {
    "data": "make data",
    "base": "make train",
    "adapter": "make train",
    "dpo": "make train",
    "merged": "make merge",
    "awq": "make merge",
    "verdict": "make merge",
    "report": "make report",
}
# Stage → the stages before it. `base` is made from plain files.
MADE_FROM = {
    "adapter": ("data", "base"),
    "dpo": ("data", "base", "adapter"),
    "merged": ("data", "base", "adapter"),  # and dpo, if that is enabled
    "awq": ("data", "merged"),
    "verdict": ("awq",),
    "report": ("awq",),
}


def made_by(stage: str) -> str:
    """Return the command that makes a stage's artefact; `make demo` makes everything."""
    return MADE_BY.get(stage, "make demo")

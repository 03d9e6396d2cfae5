"""Evaluation: ask a served model for the whole grid, count what is right, report, and gate the build.

`asking` and `scores` need openai and pydantic alone, as the client does; the rest needs the whole environment.
"""

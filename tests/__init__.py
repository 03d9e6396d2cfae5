"""Tests; run them with `make test`, or `.venv/bin/python -m pytest` from the repository root."""

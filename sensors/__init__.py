"""Readings from the outside: adapters, quality control, store, yesterday and today. Nothing here writes a message."""

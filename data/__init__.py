"""What flows through the line: readings, the prompt contract, message checks, the corpus and its builders.

Imports no other room. Everything the client needs (`reading`, `prompt`, `message`, `sense`, `errors`) runs on the
standard library alone.
"""

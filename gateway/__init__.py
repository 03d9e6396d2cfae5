"""The public gateway: the original's REST API, the board's page, two OpenAI routes. vLLM itself is never exposed."""

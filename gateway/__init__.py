"""The gateway faces the outside: the original REST API, the board's page, the SDK's two routes; never vLLM itself."""

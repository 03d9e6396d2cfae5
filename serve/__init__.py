"""Run vLLM on a verified checkpoint: preflight, flags, the process from start to clean stop."""

"""Base models (the nano base, KORMo's import) and the LoRA trained on them."""

"""Base models (the nano base, KORMo's import) and the LoRA that is trained on them."""

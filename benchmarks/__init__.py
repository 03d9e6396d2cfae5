"""Measurements that `make test` does not run; each module's docstring shows its usage."""

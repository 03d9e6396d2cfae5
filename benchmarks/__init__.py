"""Measurements that `make test` does not run; each says at its top how to run it."""

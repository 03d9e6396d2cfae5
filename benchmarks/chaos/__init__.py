"""The whole service on loopback, loaded, with one component after the other broken: docs/scale.md."""

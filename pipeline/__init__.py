"""How a stage runs: recipes in, artefacts with manifests out, the graph of stages, the verdict on the last one."""

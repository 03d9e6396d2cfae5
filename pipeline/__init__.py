"""The stage machinery: recipes in, artefacts with manifests out; the stage graph and the verdict's check."""

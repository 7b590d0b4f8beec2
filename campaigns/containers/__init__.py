"""The image and the Compose files on a real container engine (docs/evidence/containers.md)."""

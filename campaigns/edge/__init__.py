"""Callers and attackers behind real proxies, and stalled connections (docs/evidence/http-edge.md)."""

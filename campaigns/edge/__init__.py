"""Callers and attackers behind real proxies (docs/evidence/http-edge.md)."""

"""The running services of the edge tests."""

from tests.edge.conftest import attacked, edge_database, service

__all__ = ["attacked", "edge_database", "service"]

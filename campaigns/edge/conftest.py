"""The running service of the edge tests."""

from tests.edge.conftest import edge_database, service

__all__ = ["edge_database", "service"]

"""The running service of the edge tests, with the mapping of the hostile inputs."""

from tests.edge.conftest import attacked

__all__ = ["attacked"]

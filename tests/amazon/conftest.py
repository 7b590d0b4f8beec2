"""The fixtures of these tests."""

from listening import listen

__all__ = ["listen"]

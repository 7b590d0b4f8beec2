"""The pages of a destination."""

"""The embedded Postgres of `./run` and of the tests."""

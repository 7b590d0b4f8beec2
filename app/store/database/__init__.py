"""The database itself: migrations, roles, partitions, servers and clocks."""

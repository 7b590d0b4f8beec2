"""Tools of a development machine: launcher, embedded Postgres, checks, drills. No server process loads them."""

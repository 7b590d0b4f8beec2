"""One machine for developers: launcher, embedded Postgres, checks, drills. No server process loads it."""

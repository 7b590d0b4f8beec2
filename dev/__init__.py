"""Tools of a development machine: launcher, embedded Postgres, checks, drills. Servers never load them."""

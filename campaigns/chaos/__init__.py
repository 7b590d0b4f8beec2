"""Several processes, real Postgres and TCP proxies under random faults (docs/campaigns.md)."""

"""Who may call which route: keys, sessions and scopes."""

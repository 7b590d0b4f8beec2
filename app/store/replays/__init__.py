"""SQL of replays and dismissals: the selected events, the queueing, dead letters, and the progress."""

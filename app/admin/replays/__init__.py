"""Use cases that replay or dismiss failed events, and show the progress of replays."""

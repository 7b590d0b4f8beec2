"""SQL of match quality, dedupe, reconciliation and shadows."""

"""SQL that reads events: their batches and exceptions, their attempts, and the records of rejected ones."""

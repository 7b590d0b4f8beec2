"""The second half of the pipeline: claimed → paced → sent → settled, and the other jobs of a worker.

`dispatcher.py` is the loop over lanes. `delivery.py` sends one request of one lane. `claim.py` reads due
events. `settlement.py` writes results. `app.domain.outcomes.settle` decides about retries.
`app.domain.pacing` decides about rate and circuit breaker. `access_tokens.py` refreshes tokens.
`maintenance.py` expires events and drops old partitions. `callbacks.py` reports final states to the journey
engine. `worker.py` has what they share.
"""

"""The second half of the pipeline: claimed → paced → sent → settled, and the other jobs of a worker.

`dispatcher.py` is the loop over lanes, `delivery.py` serves one request of one lane, `claim.py` and
`due_work.py` read what is due, `settlement.py` writes what followed. Retry waits are decided in
`app.domain.outcomes.settle`, pace and breaker in `app.domain.pacing`. `access_tokens.py` refreshes tokens,
`maintenance.py` expires events and drops old partitions, `callbacks.py` reports to the journey engine.
"""

"""The first half of the pipeline: received → matched → converted → stored.

`intake.py` receives the events of a request, `evaluate.py` matches and converts them, `group_commit.py`
holds the waiting requests and commits them together, `dedup.py` finds duplicates, `flush_writer.py` writes.
`destination_cache.py` caches compiled mappings, `recorders.py` records rejected events,
`schema_sampler.py` samples the schema of events.
"""

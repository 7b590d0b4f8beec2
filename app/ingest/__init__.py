"""The first half of the pipeline: received → matched → converted → stored.

`intake.py` takes the events of a request, `evaluate.py` matches and converts one, `group_commit.py` gathers
requests for one commit, `dedup.py` finds duplicates, `flush_writer.py` writes. `destination_cache.py` holds
the compiled mappings, `rejection_recorder.py` what was rejected, `schema_sampler.py` what events look like.
"""

"""A journey's event goes in, an Amazon conversion comes out. This is the road, and where each station stands.

    received    web.events.post_events           one strict parser, one result for each event
    matched     intake.judging.match_mapping     the destination and its published mapping
    converted   domain.conversion.convert        the finished Amazon event, hashed, its bytes frozen
    stored      intake.flushing.Flusher          one transaction for many posts; 202 after its fsync
    ‖
    claimed     delivery.loads.claim_live        whole batches, opened, up to 500 events or 1 MB
    paced       domain.pacing.Pace               GCRA, Retry-After gate, requests in flight; one owner a lane
    sent        amazon.client.EventsClient       the attempt is committed as started before
    settled     domain.settling.settle           a pure decision, which delivery.settlements.write writes

The two halves, `app.ingest` and `app.delivery`, never import each other; they meet in `app.store`.
"""

"""The service accepts events of customer journeys and delivers them to the Amazon Conversions API.

For an ordinary event the service calls these functions in this order (checked by
`tests/project/test_the_map.py`):

    received    app.server.connection.HttpConnection.on_headers_complete     admission, before the body
                app.server.fast_events.EventsEndpoint.__call__               authentication, response
                app.domain.event.read_events                                 unparsed until evaluated
    matched     app.ingest.evaluate.match_mapping                            destination and mapping
    converted   app.domain.conversion.convert.ConversionPlan.convert         the hashed event
    stored      app.ingest.flush_writer.FlushWriter.write_in_one_round_trip  one commit for many posts
                app.api.events.intake.results_response                       202, after the commit
    ‖
    claimed     app.delivery.delivery.Delivery.serve                         one request of one lane
                app.delivery.claim.read_batches                              batches, up to 500 events
    paced       app.domain.pacing.pace.Pace.sent                             rate limit, `blocked_until`
    sent        app.amazon.client.EventsClient.send                          after the attempt's commit
    settled     app.domain.outcomes.settle.settle                            a pure decision
                app.delivery.settlement.SettlementWriter.write_settlement    one transaction

Before `match_mapping`, the packages `server`, `api` and `ingest` call each other. After it, each package is
entered only in the listed order. At ‖ the event is in the database, and a worker continues. `app.ingest` and
`app.delivery` never import each other. Both use `app.store`.
"""

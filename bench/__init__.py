"""Measures the cost of an event: the pipeline under load, compared with a minimal reference.

`./run bench` starts its own Postgres with fsync on, API, worker and a stand-in for Amazon, and sends load
from a separate process. The machine may be shared: compare ratios and CPU time. Results and
method: docs/performance.md.

    command     arguments and order of the parts
    stage       the processes, and their CPU time, WAL, database size and memory
    events      a realistic event, its mapping, the bodies of posts
    load        the process that posts: open or closed loop
    stand_in    the stand-in for Amazon: accepts immediately and records arrivals
    pipeline    rounds through the pipeline
    reference   rounds of the reference
    organisations  one organisation beside another that floods, stalls, fills its queue, or has Amazon down
    stalled     the process that stalls connections
    backlog     claim and settle with thousands and millions waiting
    report      tables
"""

"""What an event costs: the whole road under load, beside bare loops that do as little as can be done.

`./run bench` starts all of it (own Postgres with fsync on, API, worker, a stand-in for Amazon), drives load
from a process of its own, and prints figures and ratios. The machine may be shared and noisy: read the
ratios, and processor time rather than rates. docs/performance.md holds results and says how they were taken.

    command     arguments, the order of things
    stage       what runs, and what it cost: processor time, WAL, database, memory
    events      a realistic event, its mapping, the bodies of posts
    load        the process that posts: open loop or as fast as it is answered
    answerer    the stand-in for Amazon that answers at once and notes when what arrived
    road        rounds over the road
    reference   rounds over the bare loops
    backlog     claim and settle with thousands and millions waiting
    report      tables
"""

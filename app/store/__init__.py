"""All SQL, one file per noun that is stored. Functions take a connection and never commit.

Two kinds of connection, by what is stored (ADR 0003):

* configuration (destinations, mappings, keys, sign-ins, audit) takes a SQLAlchemy `AsyncConnection`;
* the road (ledger, parcels, lanes, attempts, exceptions, counts) takes an asyncpg `Connection`,
  since there a statement carries hundreds of events as arrays and its overhead is paid per flush.

The migrations are the only description of the schema: there is no metadata beside them that could drift.
A migration is checked by comparing the schema after *up* with the schema after *up, down, up*.
"""

from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

RoadConnection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"

"""Types for the ids of the pipeline, so that mypy rejects an id of the wrong kind.

A destination and a mapping have two ids: a text for users, and a number for the tables of the pipeline.
"""

from typing import NewType

DestinationId = NewType("DestinationId", str)  # dst_…
DestinationNumber = NewType("DestinationNumber", int)
MappingId = NewType("MappingId", str)  # map_…
MappingNumber = NewType("MappingNumber", int)
KeyId = NewType("KeyId", str)  # key_…
LaneId = NewType("LaneId", int)
BatchId = NewType("BatchId", int)
AttemptId = NewType("AttemptId", int)
AdvertiserId = NewType("AdvertiserId", str)
OrganisationId = NewType("OrganisationId", str)

DEFAULT_ORGANISATION = OrganisationId("default")
"""The organisation of a fresh database."""

"""Types for the ids of the pipeline, so that mypy finds a mix-up."""

from typing import NewType

DestinationId = NewType("DestinationId", str)  # dst_…, public
DestinationNumber = NewType("DestinationNumber", int)  # in tables of the pipeline
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

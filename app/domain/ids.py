"""Names for the ids that travel through the road, so that one cannot be passed for another."""

from typing import NewType

DestinationId = NewType("DestinationId", str)  # dst_…, what callers see
DestinationNumber = NewType("DestinationNumber", int)  # what hot tables store
MappingId = NewType("MappingId", str)  # map_…
MappingNumber = NewType("MappingNumber", int)
KeyId = NewType("KeyId", str)  # key_…
LaneId = NewType("LaneId", int)
BatchId = NewType("BatchId", int)
AttemptId = NewType("AttemptId", int)
AdvertiserId = NewType("AdvertiserId", str)

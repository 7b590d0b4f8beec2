"""FAST_PATH=false sends every event through the general conversion, also after a name was pinned."""

import pytest

from app.domain.conversion.consent import ConsentSettings
from app.domain.ids import DEFAULT_ORGANISATION, AdvertiserId, DestinationId
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.ingest.destination_cache import AgeLimits, DestinationCache
from tests.pipeline.world import World


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_setting_decides_whether_mappings_have_a_fast_path(world: World, *, enabled: bool) -> None:
    """For a mapping that could have one."""
    destination = DestinationId(await world.destination(advertiser="77", mapping=EXAMPLE_MAPPING))
    cache = DestinationCache(AgeLimits(), ConsentSettings(), fast_path=enabled)
    async with world.resources.pool.acquire() as connection:
        await cache.refresh(connection, [destination])
    for _ in ("as read", "with another pin"):
        target = cache.get(destination)
        assert target is not None
        assert [mapping.fast_path is not None for mapping in target.published] == [enabled]
        cache.add_pins({(DEFAULT_ORGANISATION, AdvertiserId("77"), "LEAD"): "Lead"})

"""Incidents of thousands of destinations: the process that computes them does its other work meanwhile."""

from tests.api.test_loop_time import MOST_MS, MOST_MS_OF_A_FIRST_CALL, measured
from tests.incidents.conftest import Watch

DESTINATIONS = 5_000


async def test_incidents_of_thousands_of_destinations_do_not_occupy_the_event_loop(watch: Watch) -> None:
    """All of them lose their sign-in at once. The channel gets a digest of what was found."""
    dst = await watch.world.destination()
    await watch.world.fetch(
        """
        INSERT INTO destinations (organisation_id, id, lane, name, advertiser_id, region, currency, sign_in,
          sign_in_reason)
        SELECT organisation_id, 'dst_' || lpad(n::text, 20, '0'), lane, 'Shop ' || n, advertiser_id, region,
          currency, 'broken', 'revoked'
        FROM destinations, generate_series(1000, 999 + $2::int) AS n WHERE id = $1
        """,
        dst,
        DESTINATIONS,
    )
    times = []
    with measured() as loop:
        for _ in range(4):
            _, milliseconds = await loop.of(watch.monitor.run())
            times.append(milliseconds)
    await watch.delivery.run()
    [digest] = watch.receiver.of_type("digest")
    assert digest["data"]["count"] == DESTINATIONS
    assert times[0] <= MOST_MS_OF_A_FIRST_CALL, times
    assert min(times[1:]) <= MOST_MS, times

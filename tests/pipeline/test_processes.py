"""The product as processes, with another stand-in for Amazon than the project's."""

from pathlib import Path

from tests.pipeline.other_amazon import OtherAmazon
from tests.pipeline.processes import Product, running_product
from tests.pipeline.world import event


async def test_another_stand_in_serves_as_well_as_the_sandbox(database_url: str, tmp_path: Path) -> None:
    """AMAZON_BASE_URL names one that shares nothing with the project's; nothing else is called there."""
    other = OtherAmazon()
    async with other.listening() as address:
        product = Product(database_url, tmp_path / "everything.log", amazon=address)
        async with running_product(product, workers=["worker"]) as operator:
            destination = await operator.destination("123456789012", region="EU")
            (result,) = await operator.post([event(1, destination_id=destination)])
            assert result["status"] == "accepted"
            await operator.until_delivered(destination, 1)
    assert [e["eventId"].split(":")[1] for e in other.events] == ["ord-1"]
    assert other.strangers == []

"""`/catalog`: the types of destinations, with what their forms need."""

from typing import Any

import pytest

from tests.api.world import MAPPING, ApiWorld


@pytest.mark.reads_only
@pytest.mark.parametrize(("q", "found"), [("amazon", 1), ("AMAZON conversions", 1), ("facebook", 0), ("", 1)])
async def test_the_catalogue_is_searched_by_words(world: ApiWorld, q: str, found: int) -> None:
    """In any case, every word somewhere in name or help."""
    assert len((await world.call("GET", "/catalog", params={"q": q})).json()["items"]) == found


@pytest.mark.reads_only
async def test_the_catalogue_holds_what_a_form_needs(world: ApiWorld) -> None:
    """Fields with help, event types, sources, currencies, countries, in Amazon's numbers."""
    (kind,) = (await world.call("GET", "/catalog")).json()["items"]
    assert kind["name"] == "Amazon Conversions API"
    assert [field["name"] for field in kind["fields"]][:4] == ["name", "advertiser_id", "region", "currency"]
    assert all(field["help"] and field["label"] for field in kind["fields"])
    assert len(kind["event_types"]) == 12
    assert len(kind["event_sources"]) == 6
    assert len(kind["currencies"]) == 81
    assert len(kind["countries"]) == 252
    assert {"US", "DE"} <= {country["value"] for country in kind["countries"]}


async def test_the_catalogue_type_offers_twelve_presets(world: ApiWorld) -> None:
    """Each with a draft that can be saved as it is."""
    (amazon,) = (await world.call("GET", "/catalog")).json()["items"]
    assert len(amazon["presets"]) == 12
    made = await world.create_destination()
    preset: dict[str, Any] = amazon["presets"][0]["mapping"]
    assert (await world.create_mapping(made["id"], **preset))["problems"] == []


async def test_each_preset_of_an_event_id_can_be_saved(world: ApiWorld) -> None:
    """With a line for a person, as the mapping form shows it."""
    (amazon,) = (await world.call("GET", "/catalog")).json()["items"]
    made = await world.create_destination()
    for preset in amazon["event_id_presets"]:
        assert preset["label"]
        assert preset["help"].endswith(".")
        fields = {**MAPPING["fields"], "event_id": preset["source"]}
        assert (await world.create_mapping(made["id"], fields=fields))["problems"] == []

"""Which organisations count as sending: those whose last post is recent."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.recent_senders import RecentSenders


def senders_after(*posts: tuple[str | None, float]) -> RecentSenders:
    senders = RecentSenders(10.0)
    for organisation, now in posts:
        senders.record(organisation, now)
    return senders


def test_nobody_sent() -> None:
    senders = RecentSenders(10.0)
    assert not senders.are_several(100.0)
    assert not senders.include_other(None, 100.0)
    assert not senders.include_other("a", 100.0)


def test_a_lone_organisation_has_no_other() -> None:
    senders = senders_after(("a", 100.0), ("a", 101.0))
    assert not senders.are_several(101.0)
    assert not senders.include_other("a", 101.0)
    assert senders.include_other("b", 101.0)


def test_an_organisation_counts_until_its_last_post_is_old() -> None:
    senders = senders_after(("a", 100.0), ("b", 105.0), ("a", 106.0), ("b", 120.0))
    assert senders.are_several(116.0)
    assert not senders.are_several(116.1)
    assert not senders.include_other("b", 116.1)
    assert senders.include_other("a", 116.1)


def test_the_first_post_after_a_long_silence_is_alone() -> None:
    """It follows a post of another organisation, but that organisation has not sent for a long time."""
    assert not senders_after(("a", 100.0), ("b", 500.0)).are_several(500.0)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(0, 5)), max_size=30),
    st.floats(0, 15),
    st.sampled_from(["a", "b", "c", None]),
)
def test_two_remembered_organisations_are_enough(
    posts: list[tuple[str | None, float]], later: float, organisation: str | None
) -> None:
    """The answers are the same as with the time of every organisation's last post."""
    senders, now, last = RecentSenders(10.0), 100.0, {}
    for sender, elapsed in posts:
        now += elapsed
        senders.record(sender, now)
        last[sender] = now
    now += later
    recent = {sender for sender, posted_at in last.items() if now - posted_at <= 10.0}
    assert senders.are_several(now) is (len(recent) > 1)
    assert senders.include_other(organisation, now) is bool(recent - {organisation})

"""The cycle collector, told what these processes are like: much that stays, and little that is circular."""

import gc

# A post of 5,000 events makes some 60,000 objects, none of them circular, and all of them gone when it is
# answered. By default the collector would walk through them a hundred times meanwhile.
_BETWEEN_LOOKS = 50_000


def freeze_and_relax() -> None:
    """Leave what the start has made out of every later collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_BETWEEN_LOOKS, 20, 50)

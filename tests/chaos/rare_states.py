from typing import Any
async def imbalance(stage: Any) -> bool:
    return False
async def gather(stage: Any, run: Any) -> set[str]:
    return set()
def report(met, say, file):
    return []

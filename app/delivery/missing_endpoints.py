"""Park a destination after several 404s in a row. Resume it when Amazon does not answer a probe with 404."""

from dataclasses import dataclass, field

from app.delivery.access_tokens import Access, AccessTokens
from app.domain.ids import DestinationId
from app.domain.outcomes.missing_endpoint import EndpointPolicy, MissingRun, has_answered
from app.domain.outcomes.outcome import Missing, Reply
from app.store.lanes import DestinationQueue
from app.telemetry import Telemetry


@dataclass(eq=False, repr=False, kw_only=True)
class MissingEndpoints:
    """Counts the consecutive 404s of each destination. Each worker process counts on its own."""

    tokens: AccessTokens
    policy: EndpointPolicy
    telemetry: Telemetry
    _runs: dict[DestinationId, MissingRun] = field(init=False, default_factory=dict)

    async def waits(self, queue: DestinationQueue, access: Access, reply: Reply, now: float) -> bool:
        """Count a reply. Return whether the destination is parked because of 404s."""
        if queue.is_probe:
            if has_answered(reply) and await self.tokens.endpoint_found(queue.id):
                self.telemetry.log("destination.endpoint_found", destination=queue.id)
            return isinstance(reply, Missing)
        if queue.id not in self._runs and not isinstance(reply, Missing):
            return False
        run = self._runs.pop(queue.id, MissingRun(now)).after(reply, now)
        if not run.is_too_long(self.policy, now):
            if run.times:
                self._runs[queue.id] = run
            return False
        is_parked = await self.tokens.endpoint_not_found(queue.id, access, probe_in=self.policy.probe_every)
        if is_parked:
            self.telemetry.log(
                "destination.endpoint_not_found", level=30, destination=queue.id, replies=run.times
            )
        return is_parked

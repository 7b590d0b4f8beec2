"""Recognise values that only other processes can decrypt, because this one lacks their encryption key."""

from dataclasses import dataclass, field

from app.crypto import Vault
from app.store import PipelineConnection
from app.store.encryption import key_usage
from app.telemetry import Telemetry


@dataclass(eq=False, repr=False)
class MissingKeys:
    """The encryption keys that other processes use and this process lacks."""

    vault: Vault
    telemetry: Telemetry
    process: str
    _logged: set[str] = field(init=False, default_factory=set)

    async def explain(self, connection: PipelineConnection, sealed: bytes | None) -> bool:
        """Return whether a missing key explains that a value cannot be decrypted. Log each key once.

        A key that no process ever used does not exist, so the value is damaged.
        """
        key = None if sealed is None else self.vault.unknown_key(sealed)
        if key is None or not await key_usage.is_used(connection, key):
            return False
        if key not in self._logged:
            self._logged.add(key)
            self.telemetry.log("encryption_key.missing", level=40, key=key, process=self.process)
        return True

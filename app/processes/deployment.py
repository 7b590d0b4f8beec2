"""What the settings of a deployment state about conversions: for the API and for configuration files.

A worker converts nothing, so the module of its resources does not import these rules.
"""

from datetime import timedelta

from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.results import DeploymentRules
from app.settings import Settings


def deployment_rules(settings: Settings) -> DeploymentRules:
    """Return the conversion rules that the settings state."""
    return DeploymentRules(
        timedelta(days=settings.max_event_age_days),
        timedelta(days=settings.warn_event_age_days),
        ConsentSettings(settings.tcf_vendor_id, frozenset(settings.tcf_purposes)),
    )

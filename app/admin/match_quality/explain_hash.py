"""Use case: name the rule by which another system hashed a value. Nothing is stored, logged or looked up."""

from app.admin.match_quality.inputs import ExplainHashRequest
from app.admin.privacy.hash_value import RULES
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.conversion.countries import read_country
from app.domain.match_quality import foreign_hash
from app.domain.match_quality.foreign_hash import HashExplanation


def explain_hash(body: ExplainHashRequest) -> HashExplanation:
    """Return the rules that reproduce the digest. Raises Refusal (422) for an unknown country."""
    country = read_country(body.country)
    if country is None:
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("country", "not_in_list"))
    return foreign_hash.explain_hash(RULES[body.field], body.value, body.hash, country=country.code)

"""Amazon's sign-in as the web asks for it: the client's answers in the web's words (ADR 0010)."""

from app.amazon import accounts
from app.amazon.client import EventsClient
from app.amazon.tokens import InvalidClient, SignIn, SignInRefused, Tokens
from app.api.context import CannotTell, Declined, Granted, Misconfigured, NotVisible, Visible
from app.domain.destination import Region
from app.domain.ids import AdvertiserId
from app.domain.outcomes.outcome import Unauthorized


class Connecting:
    """Answers the two protocols of `app.api.context` with the real client; one per API process."""

    def __init__(self, sign_in: SignIn, client: EventsClient) -> None:
        self._sign_in = sign_in
        self._client = client

    def authorize_url(self, region: Region, *, state: str, code_verifier: str) -> str:
        """Return the page where the user clicks Allow."""
        return self._sign_in.authorize_url(region, state=state, code_verifier=code_verifier)

    async def exchange(
        self, region: Region, *, code: str, code_verifier: str
    ) -> Granted | Declined | Misconfigured | CannotTell:
        """Exchange a code for tokens, once."""
        answer = await self._sign_in.exchange(region, code=code, code_verifier=code_verifier)
        match answer:
            case Tokens(access_token, str() as refresh_token, lifetime_s):
                return Granted(access_token, refresh_token, lifetime_s)
            case SignInRefused():
                return Declined()
            case InvalidClient():
                return Misconfigured()
            case _:
                return CannotTell()

    async def find_advertiser(
        self, region: Region, *, access_token: str, advertiser_id: AdvertiserId
    ) -> Visible | NotVisible | CannotTell | Declined:
        """Ask whether the signed-in user sees the advertiser; Declined where Amazon takes no such token."""
        answer = await accounts.find_advertiser(self._client, region, access_token, advertiser_id)
        match answer:
            case accounts.Visible(name=name, currency=currency):
                return Visible(name, currency)
            case accounts.NotVisible(ids):
                return NotVisible(ids)
            case Unauthorized():
                return Declined()
            case _:
                return CannotTell()

// A real OpenID provider for one client; anyone signs in by the name of an account below, with any password.
import { Provider } from 'oidc-provider';

const [issuer, application] = process.argv.slice(2);
const accounts = {
  ada: { name: 'Ada Lovelace', groups: ['leads'], organisation: 'default' },
  grace: { name: 'grace@example.com', groups: ['everyone'], organisation: 'acme' },
  nobody: { name: 'No Body', groups: ['others'], organisation: 'default' },
  stranger: { name: 'A Stranger', groups: ['leads'], organisation: 'elsewhere' },
};
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'console',
    client_secret: 'a-client-secret-of-the-tests',
    redirect_uris: [`${application}/console/oidc/callback`],
    post_logout_redirect_uris: [`${application}/console/sign-in`],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  claims: { openid: ['sub'], profile: ['name', 'groups', 'organisation'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ['the-cookies-of-the-tests'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_, id) => accounts[id] && {
    accountId: id,
    claims: async () => ({ sub: id, ...accounts[id] }),
  },
});
provider.listen(Number(new URL(issuer).port), '127.0.0.1');

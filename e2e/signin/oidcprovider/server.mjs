// An OpenID provider for tests. It takes its settings as JSON in the environment and
// prints a line when it listens. Anybody can sign in under any name.
import { Provider } from "oidc-provider";
import { generateKeyPair, exportJWK } from "jose";

const { port, issuer, clients, google } = JSON.parse(process.env.SETTINGS);
const { privateKey } = await generateKeyPair("RS256", { extractable: true });
const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: "RS256", use: "sig", kid: "one" }] },
  cookies: { keys: ["a key of tests, which guards nothing"] },
  claims: { openid: ["sub", "acr", "amr", "auth_time", "sid"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  acrValues: ["urn:test:two"],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.test`, email_verified: true, name: id }) }),
  rotateRefreshToken: true,
  issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
  pkce: { required: () => true },
  ttl: { AccessToken: 300, IdToken: 300, Grant: 3600, Session: 3600, Interaction: 600, RefreshToken: 3600 },
  features: {
    devInteractions: { enabled: true },
    pushedAuthorizationRequests: { enabled: !google },
    rpInitiatedLogout: { enabled: !google },
    backchannelLogout: { enabled: true },
  },
});
provider.listen(port, "127.0.0.1", () => console.log("listening"));

// A certified OpenID provider with token exchange (RFC 8693) as a grant of its own. It
// issues tokens for clients, and exchanges those that are for https://api.test.
import Provider, { errors } from 'oidc-provider'
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const issuer = process.env.ISSUER

const { privateKey } = await generateKeyPair('ES256', { extractable: true })
const jwk = { ...(await exportJWK(privateKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
const { d, ...pub } = jwk
const keys = createLocalJWKSet({ keys: [pub] })

const server = (audience, ttl) => ({ audience, scope: 'read', accessTokenTTL: ttl, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } })
const client = (client_id, client_secret, grant) => ({
  client_id, client_secret, grant_types: [grant], redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256',
})

// A client that authenticates itself by a key.
const keyed = process.env.CLIENT_JWKS ? [{ ...client('keyed', undefined, EXCHANGE), token_endpoint_auth_method: 'private_key_jwt', jwks: JSON.parse(process.env.CLIENT_JWKS) }] : []

const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  clients: [...keyed, client('app', 'app-secret', 'client_credentials'), client('banned', 'banned-secret', 'client_credentials'), client('gateway', 'gate:way%secret', EXCHANGE)],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: { enabled: true, getResourceServerInfo: (ctx, resource) => server(resource, 600) },
  },
})

provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { subject_token, subject_token_type, audience } = ctx.oidc.params
  if (subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type')
  let subject
  try {
    ({ payload: subject } = await jwtVerify(subject_token, keys, { issuer, audience: 'https://api.test' }))
  } catch {
    throw new errors.InvalidRequest('subject_token')
  }
  if (subject.sub === 'banned') throw new errors.InvalidGrant('banned')
  if (audience !== 'orders') throw new errors.InvalidTarget('audience')
  const token = new provider.AccessToken({ accountId: subject.sub, client: ctx.oidc.client, gty: 'token_exchange', scope: 'read' })
  token.resourceServer = new provider.ResourceServer(audience, server(audience, 120))
  ctx.body = { access_token: await token.save(), issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: token.expiration }
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource'])

provider.on('server_error', (ctx, err) => console.error(err))
provider.listen(Number(new URL(issuer).port), '127.0.0.1', () => console.log('listening'))

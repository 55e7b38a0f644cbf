// An OpenID provider for tests. It takes its settings as JSON in the environment and
// prints a line when it listens. Anybody can sign in under any name.
import * as https from 'node:https'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Provider } from 'oidc-provider'
import { generateKeyPair, exportJWK } from 'jose'

const { port, issuer, clients, google, stepsUp, seconds, tls, secretJWT, resources } = JSON.parse(process.env.SETTINGS)
const { privateKey } = await generateKeyPair('RS256', { extractable: true })
const certificate = (ctx) => ctx.socket.getPeerCertificate(false)
const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'one' }] },
  cookies: { keys: ['a key of tests, which guards nothing'] },
  claims: { openid: ['sub', 'acr', 'amr', 'auth_time', 'sid'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: false,
  fetch: (url, { dispatcher, ...options }) => fetch(url, options), // logouts go to loopback addresses
  acrValues: ['urn:test:two'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none', ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []), ...(secretJWT ? ['client_secret_jwt'] : [])],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.test`, email_verified: true, name: id }) }),
  rotateRefreshToken: true,
  // As Google, which gives one for access_type=offline with prompt=consent alone.
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token') && (!google || offline.has(ctx.oidc.account.accountId)),
  extraParams: google ? ['access_type'] : [],
  pkce: { required: () => true },
  ttl: { AccessToken: seconds, IdToken: 300, Grant: 3600, Session: 3600, Interaction: 600, RefreshToken: 3600 },
  features: {
    devInteractions: { enabled: true },
    pushedAuthorizationRequests: { enabled: !google },
    rpInitiatedLogout: { enabled: !google },
    backchannelLogout: { enabled: !google },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: true },
    ...(resources ? {
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({ audience: resource, scope: 'orders:read', accessTokenFormat: resource === resources[0] ? 'jwt' : 'opaque' }),
      },
    } : {}),
    mTLS: {
      enabled: !!tls, certificateBoundAccessTokens: !!tls, tlsClientAuth: !!tls, selfSignedTlsClientAuth: !!tls,
      getCertificate: (ctx) => new X509Certificate(certificate(ctx).raw).toString(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn' && `CN=${certificate(ctx).subject.CN}` === expected,
    },
  },
})

// Who has asked for access without being there, of a provider like Google.
const offline = new Set()
const finished = provider.interactionFinished.bind(provider)
provider.interactionFinished = async (req, res, result, options) => {
  const { params, session } = await provider.interactionDetails(req, res)
  if (stepsUp && result.login && params.acr_values) Object.assign(result.login, { acr: params.acr_values.split(' ')[0], amr: ['pwd', 'otp'] })
  if (google && result.consent && params.access_type === 'offline' && params.prompt?.includes('consent')) offline.add(session.accountId)
  return finished(req, res, result, options)
}
if (google) {
  provider.use(async (ctx, next) => {
    if (ctx.path === '/auth') { // max_age is not heeded, and login is no prompt
      const { max_age, prompt, ...query } = ctx.query
      const prompts = (prompt ?? '').split(' ').filter((p) => p !== 'login').join(' ')
      ctx.query = prompts ? { ...query, prompt: prompts } : query
    }
    await next()
    if (ctx.path === '/.well-known/openid-configuration' && ctx.body) delete ctx.body.authorization_response_iss_parameter_supported
    const to = ctx.response.get('Location')
    if (to && ctx.path.startsWith('/auth')) { // nor is the issuer named in the response
      const address = new URL(to, issuer)
      if (address.searchParams.has('code')) {
        address.searchParams.delete('iss')
        ctx.response.set('Location', address.href)
      }
    }
  })
}
provider.on('server_error', (_, error) => console.error(error))
provider.on('backchannel.error', (_, error) => console.error(error))

const ready = () => console.log('listening')
if (tls) {
  const files = Object.fromEntries(Object.entries(tls).map(([name, path]) => [name, readFileSync(path)]))
  https.createServer({ ...files, requestCert: true, rejectUnauthorized: false }, provider.callback()).listen(port, '127.0.0.1', ready)
} else provider.listen(port, '127.0.0.1', ready)

// An authorization server (panva's `oidc-provider`, npm) on loopback, and a resource server that asks its introspection. Client
// authentication by private_key_jwt against the broker's key set, tokens, revocation and introspection are the provider's, the
// check of the subject token is jose's; only the few lines that join them to an RFC 8693 grant are of these tests, since the
// provider has no such grant. Takes the broker's URL, prints { issuer, resource } on one line, and stays until its standard input
// closes.
import http from 'node:http';
import * as jose from 'jose';
import Provider, { errors } from 'oidc-provider';

const broker = process.argv[2];
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const listen = async (server) => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}`;
};
const [server, api] = [http.createServer(), http.createServer()];
const [issuer, resource] = [await listen(server), await listen(api)];
const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = { ...(await jose.exportJWK(privateKey)), kid: 'op-1', alg: 'ES256', use: 'sig' };
const served = { audience: resource, scope: 'contacts:eu:read contacts:eu:write', accessTokenTTL: 600, accessTokenFormat: 'opaque' };

console.warn = console.info = () => {};
const client = (id, more) => ({
  client_id: id, redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256', ...more,
});
const brokerKeys = await (await fetch(`${broker}/.well-known/jwks.json`)).json();
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  clients: [
    client('hallpass', {
      grant_types: [EXCHANGE], token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
      jwks: brokerKeys,
    }),
    client('crm', { client_secret: 'for-this-test-only', grant_types: [] }),
  ],
  clientAuthMethods: ['private_key_jwt', 'client_secret_basic'],
  extraTokenClaims: (ctx) => ctx.oidc.exchanged,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: { enabled: true, getResourceServerInfo: () => served },
  },
});
const keys = jose.createLocalJWKSet(brokerKeys);
provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { client, params } = ctx.oidc;
  const { payload } = await jose
    .jwtVerify(params.subject_token ?? '', keys, {
      issuer: broker, audience: issuer, algorithms: ['ES256'], typ: 'JWT', maxTokenAge: 60,
      requiredClaims: ['sub', 'exp', 'jti', 'lease', 'task'],
    })
    .catch((error) => { throw new errors.InvalidRequest(error.message); });
  if (params.resource !== resource) throw new errors.InvalidTarget();
  const scope = (params.scope ?? '').split(' ');
  if (!scope.every((one) => served.scope.split(' ').includes(one))) throw new errors.InvalidScope('no such scope', params.scope);
  const token = new provider.ClientCredentials({ client, scope: scope.join(' ') });
  token.resourceServer = new provider.ResourceServer(resource, served);
  ctx.oidc.exchanged = { agent: payload.sub, lease: payload.lease, task: payload.task };
  ctx.oidc.entity('ClientCredentials', token);
  const value = await token.save();
  ctx.body = {
    access_token: value, issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: token.tokenType, expires_in: token.expiration, scope: token.scope,
  };
}, ['audience', 'resource', 'scope', 'requested_token_type', 'subject_token', 'subject_token_type']);
server.on('request', provider.callback());

api.on('request', async (request, response) => {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  const asked = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('crm:for-this-test-only').toString('base64')}` },
    body: new URLSearchParams({ token }),
  });
  const state = await asked.json();
  const may = state.active && state.aud === resource && state.scope.split(' ').includes('contacts:eu:read');
  response.writeHead(may ? 200 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(state));
});
console.log(JSON.stringify({ issuer, resource }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

// A real OpenID provider (panva's `oidc-provider`, npm) on loopback. Issues itself one JWT access token by client
// credentials, prints { issuer, token, opaque } on one line, and stays until its standard input closes.
import http from 'node:http';
import * as jose from 'jose';
import Provider from 'oidc-provider';

const audience = 'https://broker/dep-7';
const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = { ...(await jose.exportJWK(privateKey)), kid: 'op-1', alg: 'ES256', use: 'sig' };

console.warn = console.info = () => {};
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  clients: [{
    client_id: 'robot', client_secret: 'for-this-test-only', redirect_uris: [], response_types: [],
    grant_types: ['client_credentials'], id_token_signed_response_alg: 'ES256',
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        audience, scope: 'api', accessTokenTTL: 300, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
server.on('request', provider.callback());

const ask = async (form) => {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('robot:for-this-test-only').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', ...form }),
  });
  const body = await answer.json();
  if (!body.access_token) throw new Error(JSON.stringify(body));
  return body.access_token;
};
console.log(JSON.stringify({ issuer, token: await ask({ resource: audience, scope: 'api' }), opaque: await ask({}) }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

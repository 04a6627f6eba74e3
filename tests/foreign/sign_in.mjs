// A real OpenID provider (panva's `oidc-provider`, npm) on loopback at which people sign in: authorization code with PKCE, groups as
// claims, `auth_time` and `acr`. Takes { client, secret, redirect, people: { NAME: { email, groups } } } as its argument, prints
// { issuer } on one line, and stays until its standard input closes.
import http from 'node:http';
import * as jose from 'jose';
import Provider from 'oidc-provider';

const { client, secret, redirect, people } = JSON.parse(process.argv[2]);
const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = { ...(await jose.exportJWK(privateKey)), kid: 'op-1', alg: 'ES256', use: 'sig' };

console.warn = console.info = () => {};
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  cookies: { keys: ['for-this-test-only'] },
  clients: [{
    client_id: client, client_secret: secret, redirect_uris: [redirect], response_types: ['code'],
    grant_types: ['authorization_code'], id_token_signed_response_alg: 'ES256', require_auth_time: true,
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
  scopes: ['openid', 'email', 'profile', 'groups'],
  conformIdTokenClaims: false,
  acrValues: ['urn:example:phr'],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => (people[id] ? {
    accountId: id,
    claims: () => ({ sub: id, email_verified: true, name: id, ...people[id] }),
  } : undefined),
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

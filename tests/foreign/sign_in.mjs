// A real OpenID provider (panva's `oidc-provider`, npm) on loopback where people sign in with any name and any password. Takes where
// its one client wants its answers, prints { issuer } on one line, and stays until its standard input closes.
import http from 'node:http';
import * as jose from 'jose';
import Provider from 'oidc-provider';

const callback = process.argv[2];
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
    client_id: 'hallpass', client_secret: 'for-this-test-only: 100% + & =', redirect_uris: [callback],
    response_types: ['code'], grant_types: ['authorization_code'], id_token_signed_response_alg: 'ES256',
    require_auth_time: true,
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups'],
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@foreign.example`, email_verified: true, groups: ['hallpass-operators', 'release-approvers'] }),
  }),
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

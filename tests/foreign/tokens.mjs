// Mints tokens with panva's `jose` (npm), good ones and bad ones, and says what a careful verifier must make of each.
// Prints one JSON document: { issuer, audience, now, jwks, cases: [{ name, token, expect }] }.
import * as jose from 'jose';

const issuer = 'https://foreign.example/js';
const audience = 'https://broker/dep-7';
const now = 1_800_000_000;
const usual = { iss: issuer, sub: 'workload-1', aud: audience, iat: now, nbf: now, exp: now + 300, jti: 'j' };

const keys = [];
const cases = [];
const encode = (claims) => new TextEncoder().encode(JSON.stringify(claims));
const without = (name) => Object.fromEntries(Object.entries(usual).filter(([key]) => key !== name));

for (const alg of ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA']) {
  const options = { extractable: true, ...(alg === 'EdDSA' ? { crv: 'Ed25519' } : {}) };
  const own = await jose.generateKeyPair(alg, options);
  const other = await jose.generateKeyPair(alg, options);
  const kid = `js-${alg}`;
  const jwk = { ...(await jose.exportJWK(own.publicKey)), kid, alg, use: 'sig' };
  keys.push(jwk);
  const header = { alg, kid, typ: 'JWT' };
  const sign = (claims, head = header, key = own.privateKey, sign = {}) =>
    new jose.CompactSign(encode(claims)).setProtectedHeader(head).sign(key, sign);
  const add = (name, token, expect) => cases.push({ name: `${alg}: ${name}`, token, expect });

  const good = await new jose.SignJWT(usual).setProtectedHeader(header).sign(own.privateKey);
  add('as it should be', good, 'ok');
  add('audience in a list', await sign({ ...usual, aud: ['other', audience] }), 'ok');
  add('no typ', await sign(usual, { alg, kid }), 'ok');
  add('signed by another key', await sign(usual, header, other.privateKey), 'bad_signature');
  const [head, , signature] = good.split('.');
  add('payload exchanged', [head, jose.base64url.encode(encode({ ...usual, sub: 'admin' })), signature].join('.'), 'bad_signature');
  const cut = jose.base64url.encode(jose.base64url.decode(signature).subarray(4));
  add('signature cut', good.replace(signature, cut), 'bad_signature');
  add('expired', await sign({ ...usual, iat: now - 600, nbf: now - 600, exp: now - 300 }), 'expired');
  add('not yet valid', await sign({ ...usual, nbf: now + 120 }), 'not_yet_valid');
  add('from the future', await sign({ ...usual, iat: now + 120, exp: now + 300 }), 'iat_future');
  add('without exp', await sign(without('exp')), 'exp_missing');
  add('without aud', await sign(without('aud')), 'aud_missing');
  add('without sub', await sign(without('sub')), 'sub_missing');
  add('without iss', await sign(without('iss')), 'unknown_issuer');
  add('for somebody else', await sign({ ...usual, aud: 'https://broker/dep-8' }), 'aud_mismatch');
  add('of a year', await sign({ ...usual, exp: now + 365 * 86400 }), 'lifetime_too_long');
  add('exp as text', await sign({ ...usual, exp: String(now + 300) }), 'malformed');
  add('an access token', await sign(usual, { ...header, typ: 'at+jwt' }), 'typ_not_allowed');
  add('unknown kid', await sign(usual, { ...header, kid: 'nobody' }), 'key_unknown');
  add('brings its key', await sign(usual, { ...header, jwk: await jose.exportJWK(own.publicKey) }), 'header_not_allowed');
  add('critical extension', await sign(usual, { ...header, crit: ['x'], x: 1 }, own.privateKey, { crit: { x: true } }), 'header_not_allowed');
  const spki = new TextEncoder().encode(await jose.exportSPKI(own.publicKey));
  add('HMAC with the public PEM', await sign(usual, { ...header, alg: 'HS256' }, spki), 'alg_not_allowed');
  const encrypted = new jose.EncryptJWT(usual).setProtectedHeader({ alg: 'dir', enc: 'A128CBC-HS256' });
  add('encrypted', await encrypted.encrypt(new Uint8Array(32)), 'malformed');
}
const sign512 = await jose.generateKeyPair('ES512', { extractable: true });
keys.push({ ...(await jose.exportJWK(sign512.publicKey)), kid: 'js-ES512', alg: 'ES512', use: 'sig' });
const es512 = new jose.SignJWT(usual).setProtectedHeader({ alg: 'ES512', kid: 'js-ES512' });
cases.push({ name: 'ES512 is on no list of ours', token: await es512.sign(sign512.privateKey), expect: 'alg_not_allowed' });
const ed25519 = new jose.SignJWT(usual).setProtectedHeader({ alg: 'Ed25519', kid: 'js-Ed25519' });
const fully = await jose.generateKeyPair('Ed25519', { extractable: true });
keys.push({ ...(await jose.exportJWK(fully.publicKey)), kid: 'js-Ed25519', alg: 'Ed25519', use: 'sig' });
cases.push({ name: 'Ed25519 by its new name', token: await ed25519.sign(fully.privateKey), expect: 'ok' });
cases.push({ name: 'unsecured', token: new jose.UnsecuredJWT(usual).encode(), expect: 'alg_not_allowed' });

console.log(JSON.stringify({ issuer, audience, now, jwks: { keys }, cases }));

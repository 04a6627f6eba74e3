"""Mints tokens with joserfc and with Authlib (PyPI), good ones and bad ones, and says what a careful verifier must make of
each. Prints one JSON document: {issuer, audience, now, jwks, cases: [{name, token, expect}]}."""

import base64
import hashlib
import hmac
import json
import warnings

warnings.simplefilter("ignore")

from authlib.jose import JsonWebKey as AuthlibKey  # noqa: E402
from authlib.jose import JsonWebSignature as AuthlibJws  # noqa: E402
from joserfc import jws  # noqa: E402
from joserfc.jwk import ECKey, OKPKey, RSAKey  # noqa: E402

ISSUER = "https://foreign.example/py"
AUDIENCE = "https://broker/dep-7"
NOW = 1_800_000_000
USUAL = {"iss": ISSUER, "sub": "workload-1", "aud": AUDIENCE, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "j"}
ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]

MAKERS = {
    "RS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "PS256": lambda kid: RSAKey.generate_key(3072, {"kid": kid}),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid}),
    "ES384": lambda kid: ECKey.generate_key("P-384", {"kid": kid}),
    "EdDSA": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid}),
}


def with_joserfc(header, claims, key):
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry)


def with_authlib(header, claims, key):
    own = AuthlibKey.import_key(key.as_dict(private=True))
    return AuthlibJws(algorithms=ALGORITHMS).serialize_compact(header, json.dumps(claims).encode(), own).decode()


def with_hmac(header, claims, secret):
    """joserfc refuses to take a public key for a secret, so this is done by hand."""
    signed = b".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + base64url(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def with_signature_cut(token):
    signed, signature = token.rsplit(".", 1)
    whole = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return f"{signed}.{base64url(whole[4:]).decode()}"


def changed(**changes):
    return {name: value for name, value in {**USUAL, **changes}.items() if value is not None}


def cases_of(library, sign, alg, key):
    kid = key.kid
    header = {"alg": alg, "kid": kid, "typ": "JWT"}
    good = sign(header, USUAL, key)
    other = MAKERS[alg](kid)
    wanted = [
        ("as it should be", good, "ok"),
        ("audience in a list", sign(header, changed(aud=["other", AUDIENCE]), key), "ok"),
        ("no typ", sign({"alg": alg, "kid": kid}, USUAL, key), "ok"),
        ("signed by another key", sign(header, USUAL, other), "bad_signature"),
        ("signature cut", with_signature_cut(good), "bad_signature"),
        ("a segment too many", good + ".e", "malformed"),
        ("expired", sign(header, changed(iat=NOW - 600, nbf=NOW - 600, exp=NOW - 300), key), "expired"),
        ("not yet valid", sign(header, changed(nbf=NOW + 120), key), "not_yet_valid"),
        ("from the future", sign(header, changed(iat=NOW + 120), key), "iat_future"),
        ("without exp", sign(header, changed(exp=None), key), "exp_missing"),
        ("without aud", sign(header, changed(aud=None), key), "aud_missing"),
        ("without iat", sign(header, changed(iat=None), key), "iat_missing"),
        ("without sub", sign(header, changed(sub=None), key), "sub_missing"),
        ("for somebody else", sign(header, changed(aud="https://broker/dep-8"), key), "aud_mismatch"),
        ("of a year", sign(header, changed(exp=NOW + 365 * 86400), key), "lifetime_too_long"),
        ("exp as a huge float", sign(header, changed(exp=1e300), key), "malformed"),
        ("exp as a fraction", sign(header, changed(exp=NOW + 300.5), key), "malformed"),
        ("a logout token", sign({**header, "typ": "logout+jwt"}, USUAL, key), "typ_not_allowed"),
        ("unknown kid", sign({**header, "kid": "nobody"}, USUAL, key), "key_unknown"),
        ("names a key's address", sign({**header, "jku": "https://evil.example/k"}, USUAL, key), "header_not_allowed"),
    ]
    return [{"name": f"{library} {alg}: {name}", "token": token, "expect": expect} for name, token, expect in wanted]


keys, cases = [], []
for algorithm in ALGORITHMS:
    for library, signer in [("joserfc", with_joserfc), ("authlib", with_authlib)]:
        pair = MAKERS[algorithm](f"{library}-{algorithm}")
        keys.append({**pair.as_dict(private=False), "alg": algorithm, "use": "sig"})
        cases += cases_of(library, signer, algorithm, pair)
        forged = with_hmac({"alg": "HS256", "kid": pair.kid, "typ": "JWT"}, USUAL, pair.as_pem(private=False))
        cases.append({"name": f"{library} {algorithm}: HMAC with the public key", "token": forged, "expect": "alg_not_allowed"})

print(json.dumps({"issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "jwks": {"keys": keys}, "cases": cases}))

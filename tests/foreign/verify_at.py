"""Verify one RFC 9068 access token with joserfc, which shares no code with what signed it.

Takes one JSON argument: token, jwks, algorithm, issuer, audience, now (seconds). Prints the claims, or exits 1 with the
reason.
"""

import json
import sys

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet


def main() -> int:
    case = json.loads(sys.argv[1])
    keys = KeySet.import_key_set(case["jwks"])
    try:
        token = jwt.decode(case["token"], keys, algorithms=[case["algorithm"]])
        rules = jwt.JWTClaimsRegistry(
            now=lambda: case["now"],
            leeway=0,
            iss={"essential": True, "value": case["issuer"]},
            aud={"essential": True, "value": case["audience"]},
            **{name: {"essential": True} for name in ("exp", "sub", "client_id", "iat", "jti")},
        )
        rules.validate(token.claims)
    except JoseError as error:
        print(f"{error.error}: {error.description}", file=sys.stderr)
        return 1
    # RFC 9068 section 4: the type keeps an access token from passing for another kind of JWT.
    if token.header.get("typ") != "at+jwt":
        print("typ is not at+jwt", file=sys.stderr)
        return 1
    print(json.dumps(token.claims))
    return 0


if __name__ == "__main__":
    sys.exit(main())

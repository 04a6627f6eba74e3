"""Open one compact JWE with joserfc, which shares no code with what sealed it.

Takes one JSON argument: key (a private JWK) and sealed. Prints the protected header and the plaintext, both JSON, or exits 1
with the reason.
"""

import json
import sys

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]


def main() -> int:
    case = json.loads(sys.argv[1])
    try:
        opened = jwe.decrypt_compact(case["sealed"], ECKey.import_key(case["key"]), algorithms=ALGORITHMS)
    except JoseError as error:
        print(f"{error.error}: {error.description}", file=sys.stderr)
        return 1
    print(json.dumps({"header": opened.protected, "plaintext": json.loads(opened.plaintext)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

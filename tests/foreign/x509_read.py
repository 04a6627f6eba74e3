"""Read a certificate chain and a revocation list with cryptography, which shares no code with what wrote them.

Takes one JSON argument: certificate (PEM, a chain), authority (PEM), list (base64 of DER), now (seconds). Verifies the chain for a TLS
client and the list's signature, and prints what both say as JSON; exits 1 with the reason.
"""

import base64
import datetime
import json
import sys

from cryptography import x509
from cryptography.x509 import verification


def main() -> int:
    case = json.loads(sys.argv[1])
    leaf, *above = x509.load_pem_x509_certificates(case["certificate"].encode())
    authority = x509.load_pem_x509_certificate(case["authority"].encode())
    store = verification.Store([authority])
    now = datetime.datetime.fromtimestamp(case["now"], datetime.UTC)
    verifier = verification.PolicyBuilder().store(store).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, above)
    except verification.VerificationError as error:
        print(error, file=sys.stderr)
        return 1
    signer = above[0] if above else authority
    crl = x509.load_der_x509_crl(base64.b64decode(case["list"]))
    if not crl.is_signature_valid(signer.public_key()) or crl.issuer != leaf.issuer:
        print("the list is not of the certificate's authority", file=sys.stderr)
        return 1
    revoked = crl.get_revoked_certificate_by_serial_number(leaf.serial_number)
    names = leaf.extensions
    result = {
        "serial": f"{leaf.serial_number:X}",
        "subject": [[one.oid.dotted_string, one.value] for one in leaf.subject],
        "not_before": int(leaf.not_valid_before_utc.timestamp()),
        "not_after": int(leaf.not_valid_after_utc.timestamp()),
        "extensions": {one.oid._name: one.critical for one in names},
        "revoked": None,
        "entries": len(crl),
        "number": crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        "this_update": int(crl.last_update_utc.timestamp()),
        "next_update": int(crl.next_update_utc.timestamp()),
    }
    if revoked is not None:
        reasons = [one.value.reason.value for one in revoked.extensions]
        result["revoked"] = [int(revoked.revocation_date_utc.timestamp()), *reasons]
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

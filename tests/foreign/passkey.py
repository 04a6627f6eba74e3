"""An authenticator and its browser, and a second relying party, on Yubico's python-fido2, which shares no code with ours.

Reads one JSON command a line and answers one JSON value a line; what it cannot do is answered as {"error": …}.

  {"do": "create", "options": CreationOptionsJSON, "origin": …, "alg": -7 | -8 | -257, "attest": "none" | "packed" | "x5c", "tweak": {…}}
  {"do": "get", "options": RequestOptionsJSON, "origin": …, "credential": … or null, "tweak": {…}}
  {"do": "check_create" | "check_get", "rp_id": …, "origin": …, "challenge": …, "response": …, "object": …}

A tweak changes what an honest one would say: client (members of the client data), challenge, flags, rp_id, count, extensions.
"""

import json
import os
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from fido2 import cbor
from fido2.cose import ES256, RS256, EdDSA
from fido2.server import Fido2Server
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
)

UP, UV, BE, BS, AT, ED = 1, 4, 8, 16, 64, 128
AAGUID = bytes.fromhex("9f0d8150bff844d4a8b85b7c0e4a3c11")
CREDENTIALS = {}


def make_key(alg):
    if alg == -7:
        private = ec.generate_private_key(ec.SECP256R1())
        return private, ES256.from_cryptography_key(private.public_key())
    if alg == -8:
        private = ed25519.Ed25519PrivateKey.generate()
        return private, EdDSA.from_cryptography_key(private.public_key())
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return private, RS256.from_cryptography_key(private.public_key())


def sign(private, message):
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(message, ec.ECDSA(hashes.SHA256()))
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return private.sign(message)


def client_data(kind, options, case):
    tweak = case.get("tweak") or {}
    data = CollectedClientData.create(kind, tweak.get("challenge", options["challenge"]), case["origin"])
    if "client" in tweak:
        # Nothing that python-fido2 would write, or read.
        members = {**json.loads(data), **tweak["client"]}
        members = {name: value for name, value in members.items() if value is not None}
        return json.dumps(members, separators=(",", ":")).encode()
    return data


def auth_data(rp_id, flags, count, case, credential=b""):
    tweak = case.get("tweak") or {}
    extensions = tweak.get("extensions")
    if extensions is not None:
        flags |= ED
    rp_id_hash, count = sha256(tweak.get("rp_id", rp_id).encode()), tweak.get("count", count)
    if "flags" in tweak:
        # Flags that contradict what follows are nothing that python-fido2 would write.
        return rp_id_hash + struct.pack(">BI", tweak["flags"], count) + credential
    return AuthenticatorData.create(rp_id_hash, flags, count, credential, extensions)


def create(case):
    options, backup = case["options"], case.get("backup", 0)
    assert case["alg"] in [kind["alg"] for kind in options["pubKeyCredParams"]], "not asked for"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    excluded = {entry["id"] for entry in options.get("excludeCredentials", [])}
    if excluded & CREDENTIALS.keys() and not case.get("again"):
        return {"error": "InvalidStateError"}
    private, public = make_key(case["alg"])
    identifier = os.urandom(32) if "id" not in case else websafe_decode(case["id"])
    attested = AttestedCredentialData.create(AAGUID, identifier, public)
    data = client_data("webauthn.create", options, case)
    authenticator = auth_data(options["rp"]["id"], UP | UV | AT | backup, 0, case, attested)
    form, statement = "none", {}
    if case.get("attest", "none") != "none":
        form, statement = "packed", {"alg": case["alg"], "sig": sign(private, authenticator + sha256(data))}
    if case.get("attest") == "x5c":
        statement["x5c"] = [b"a certificate"]
    CREDENTIALS[websafe_encode(identifier)] = {
        "private": private, "count": 0, "backup": backup, "counts": case.get("counts", True),
        "rp_id": options["rp"]["id"],
    }
    return {
        "client_data": websafe_encode(data),
        "attestation_object": websafe_encode(
            cbor.encode({"fmt": form, "attStmt": statement, "authData": bytes(authenticator)})
        ),
        "transports": ["internal", "hybrid"],
    }


def get(case):
    options = case["options"]
    assert options["userVerification"] == "required"
    allowed = [entry["id"] for entry in options["allowCredentials"]]
    wanted = case.get("credential") or next((name for name in allowed if name in CREDENTIALS), None)
    known = CREDENTIALS.get(wanted)
    if known is None:
        return {"error": "NotAllowedError"}
    if known["counts"]:
        known["count"] += 1
    data = client_data("webauthn.get", options, case)
    authenticator = auth_data(options["rpId"], UP | UV | known["backup"], known["count"], case)
    return {
        "credential": wanted,
        "client_data": websafe_encode(data),
        "authenticator_data": websafe_encode(authenticator),
        "signature": websafe_encode(sign(known["private"], authenticator + sha256(data))),
    }


def server(case):
    entity = PublicKeyCredentialRpEntity(id=case["rp_id"], name="second")
    relying = Fido2Server(entity, verify_origin=lambda origin: origin == case["origin"])
    return relying, {"challenge": case["challenge"], "user_verification": "required"}


def check_create(case):
    relying, state = server(case)
    made = AttestationObject(websafe_decode(case["object"]["attestation_object"]))
    identifier = websafe_encode(made.auth_data.credential_data.credential_id)
    data = relying.register_complete(state, {
        "id": identifier, "rawId": identifier, "type": "public-key",
        "response": {
            "clientDataJSON": case["object"]["client_data"],
            "attestationObject": case["object"]["attestation_object"],
        },
        "clientExtensionResults": {},
    })
    key = data.credential_data.public_key
    return {"credential": identifier, "cose_key": websafe_encode(cbor.encode(dict(key)))}


def check_get(case):
    relying, state = server(case)
    made = AttestationObject(websafe_decode(case["object"]["attestation_object"])).auth_data.credential_data
    answer = case["response"]
    relying.authenticate_complete(state, [made], {
        "id": answer["credential"], "rawId": answer["credential"], "type": "public-key",
        "response": {
            "clientDataJSON": answer["client_data"],
            "authenticatorData": answer["authenticator_data"],
            "signature": answer["signature"],
        },
        "clientExtensionResults": {},
    })
    return {"ok": True}


def main():
    actions = {"create": create, "get": get, "check_create": check_create, "check_get": check_get}
    for line in sys.stdin:
        case = json.loads(line)
        try:
            answer = actions[case["do"]](case)
        except Exception as error:  # noqa: BLE001: whatever it is, the test is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

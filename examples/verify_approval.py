#!/usr/bin/env python3
"""Check evidence of verdicts (`GET /v1/requests/{id}/evidence`) without Hallpass and without a network.

    python3 verify_approval.py FILE [DOMAIN]

Says what is proven, or why nothing is; exits 0 or 1. Needs Python 3.9 and `cryptography`. DOMAIN is the one that the passkeys must have
signed for. What no signature covers, such as when a verdict was recorded, is only as good as the audit: look up the events it names.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa


class Flaw(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Flaw(why)


def raw(text):
    need(isinstance(text, str) and "=" not in text, "something is not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "something is not base64url")
    return data


def digest(data):
    return "sha256:" + hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def strict(text):
    def members(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), "a member comes twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=members)


def cose(data):
    """The one CBOR map that a COSE key is: whole numbers and byte strings only (RFC 8949 §3)."""

    def head(at):
        kind, low = data[at] >> 5, data[at] & 31
        size = {24: 1, 25: 2}.get(low, 0)
        need(low < 24 or size, "the key is not a COSE key")
        return kind, (int.from_bytes(data[at + 1:at + 1 + size], "big") if size else low), at + 1 + size

    kind, count, at = head(0)
    need(kind == 5, "the key is not a COSE key")
    key = {}
    for _ in range(count):
        pair = []
        for _ in range(2):
            kind, value, at = head(at)
            need(kind in (0, 1, 2), "the key is not a COSE key")
            if kind == 2:
                value, at = data[at:at + value], at + value
            pair.append(-1 - value if kind == 1 else value)
        key[pair[0]] = pair[1]
    need(at == len(data) and len(key) == count, "the key is not a COSE key")
    return key


def verify(key, signature, message):
    try:
        if (key.get(1), key.get(3), key.get(-1)) == (2, -7, 1):
            point = b"\x04" + key[-2] + key[-3]
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif (key.get(1), key.get(3), key.get(-1)) == (1, -8, 6):
            ed25519.Ed25519PublicKey.from_public_bytes(key[-2]).verify(signature, message)
        elif (key.get(1), key.get(3), key.get(-2)) == (3, -257, b"\x01\x00\x01"):
            public = rsa.RSAPublicNumbers(65537, int.from_bytes(key[-1], "big")).public_key()
            need(public.key_size >= 2048, "the key is too short")
            public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise Flaw("the key is of no kind that Hallpass takes")
    except InvalidSignature:
        raise Flaw("the signature does not hold") from None


def check(evidence, verdict, domain):
    proof = verdict["proof"]
    shown, statement = strict(proof["shown"]["request"]), strict(proof["statement"])
    registered = strict(proof["registration"])
    key, credential = raw(proof["cose_key"]), raw(proof["credential"])
    need(proof["v"] == 1, "the proof is of another version")
    need(digest(proof["shown"]["request"]) == statement["request_digest"], "something else was shown than was signed")
    need(digest(proof["shown"]["effect"]) == shown["plan"], "the effect is not the one that was shown")
    need(evidence["request"] == statement["request"], "it is about another request")
    for name in ("person", "verdict", "request_digest", "reason"):
        need(verdict.get(name) == statement[name], f"the record says another {name} than was signed")
    need(registered["kind"] == "passkey.registered", "the registration is another event")
    need(registered["actor"] == {"kind": "operator", "name": verdict["person"]}, "somebody else registered the key")
    need(registered["data"]["key"] == digest(key), "another key was registered")
    need(registered["data"]["credential"] == digest(credential), "another credential was registered")
    need(domain in (None, proof["rp_id"]), f"the passkey signs for {proof['rp_id']}")

    client, authenticator = raw(proof["client_data"]), raw(proof["authenticator_data"])
    said = strict(client)
    challenge = hashlib.sha256(raw(proof["nonce"]) + proof["statement"].encode()).digest()
    need(said["type"] == "webauthn.get" and raw(said["challenge"]) == challenge, "something else was signed")
    need(said["origin"] in proof["origins"], "it was signed at another page")
    host = said["origin"].split("://")[1].split(":")[0]
    need(host == proof["rp_id"] or host.endswith("." + proof["rp_id"]), "the page is not of that domain")
    need(said.get("crossOrigin", False) is False and "topOrigin" not in said, "it was signed inside another page")
    need(authenticator[:32] == hashlib.sha256(proof["rp_id"].encode()).digest(), "it was signed for another domain")
    flags = authenticator[32]
    need(flags & 1 and flags & 4, "nobody was there, or the authenticator did not check who")
    need(not flags & 64 and (flags & 8 or not flags & 16), "the flags contradict each other")
    verify(cose(key), raw(proof["signature"]), authenticator + hashlib.sha256(client).digest())
    print(f"signed: {statement['verdict']} of {statement['person']} on {statement['request']}")
    print(f"  shown: {shown['agent']} asks for {' and '.join(shown['scopes'])} for {shown['ttl_seconds']} s")
    print(f"  effect {shown['plan']}, under policy bundle {shown['bundle']}")
    print(f"  key {digest(key)} for {proof['rp_id']}, registered in event {registered['id']}")


def main(file, domain=None):
    with open(file, encoding="utf-8") as text:
        evidence = strict(text.read())
    need(isinstance(evidence, dict), "the file is no evidence")
    rest = {name: value for name, value in evidence.items() if name != "digest"}
    # For these members, which are texts, lists and small whole numbers, this is RFC 8785.
    whole = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    need(evidence["v"] == 1 and digest(whole) == evidence["digest"], "the file is not whole")
    signed = [verdict for verdict in evidence["verdicts"] if "proof" in verdict]
    need(signed, "no verdict was signed by a passkey, so nothing is proven")
    for verdict in signed:
        check(evidence, verdict, domain)
    print("verified")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (Flaw, AttributeError, KeyError, IndexError, TypeError, ValueError, OSError) as flaw:
        print(f"not verified: {flaw}", file=sys.stderr)
        sys.exit(1)

"""The gateway's assertion, verified by an upstream in Python (needs the package `cryptography`).

    python3 verify.py KEYS_URL ISSUER AUDIENCE      reads lines "METHOD ASSERTION", answers each with claims or with "refused: why"
"""
import base64
import json
import sys
import time
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

LEEWAY_SECONDS = 5
REFETCH_SECONDS = 10


class Refused(Exception):
    pass


class Keys:
    """The gateway's keys, fetched again for an unknown `kid`, at most every ten seconds."""

    def __init__(self, url):
        self.url, self.keys, self.fetched = url, {}, None

    def find(self, kid):
        now = time.monotonic()
        if not isinstance(kid, str):
            raise Refused("key")
        if kid not in self.keys and (self.fetched is None or now - self.fetched >= REFETCH_SECONDS):
            self.fetched = now
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                published = json.load(answer)["keys"]
            self.keys = {key["kid"]: key for key in published if key.get("kty") == "EC" and key.get("crv") == "P-256"}
        if kid not in self.keys:
            raise Refused("key")
        return self.keys[kid]


def decode(part):
    if not all(character.isascii() and (character.isalnum() or character in "-_") for character in part):
        raise Refused("encoding")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise Refused("encoding")


def members(part):
    try:
        value = json.loads(decode(part))
    except ValueError:
        raise Refused("encoding")
    if not isinstance(value, dict):
        raise Refused("encoding")
    return value


def verify(assertions, method, keys, issuer, audience):
    """`assertions`: all values of the header. Returns the claims."""
    if len(assertions) != 1:
        raise Refused("not one assertion")
    parts = assertions[0].split(".")
    if len(parts) != 3:
        raise Refused("parts")
    header = members(parts[0])
    # What the sender wrote does not choose the algorithm, nor where keys come from.
    if header.get("alg") != "ES256" or header.get("typ") != "symbolon-assertion+jwt" or "crit" in header:
        raise Refused("header")
    key = keys.find(header.get("kid"))
    point = [int.from_bytes(decode(key[name]), "big") for name in ("x", "y")]
    public = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
    signature = decode(parts[2])
    if len(signature) != 64:
        raise Refused("signature")
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        public.verify(der, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("signature")
    claims = members(parts[1])
    for name, expected in (("iss", issuer), ("aud", audience), ("method", method)):
        if claims.get(name) != expected:
            raise Refused(name)
    now = time.time()
    if not isinstance(claims.get("exp"), int) or now >= claims["exp"] + LEEWAY_SECONDS:
        raise Refused("exp")
    if not isinstance(claims.get("iat"), int) or claims["iat"] > now + LEEWAY_SECONDS:
        raise Refused("iat")
    return claims


if __name__ == "__main__":
    url, issuer, audience = sys.argv[1:]
    keys = Keys(url)
    for line in sys.stdin:
        method, *assertions = line.split()
        try:
            print(json.dumps(verify(assertions, method, keys, issuer, audience)), flush=True)
        except Refused as why:
            print(f"refused: {why}", flush=True)

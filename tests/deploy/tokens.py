"""An issuer of tokens for tests, and what other people may try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://id.plazo.example"
AUDIENCE = "plazo"
LIFE_S = 600


def encoded(data: bytes) -> str:
    """Base64 as in URLs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs with ES256. Two issuers have nothing in common but, if wanted, the key's id."""

    def __init__(self, key_id: str = "first") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = key_id

    def jwk(self) -> dict[str, str]:
        """The public key, as it stands in a key set."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": self.key_id,
            "x": encoded(numbers.x.to_bytes(32, "big")),
            "y": encoded(numbers.y.to_bytes(32, "big")),
        }

    def public_pem(self) -> bytes:
        """The public key as a file: what a forger may take for a shared secret."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, **claims: Any) -> str:
        """A token with these claims beside or instead of the usual ones; None leaves one out."""
        content = _content({"alg": "ES256", "kid": self.key_id, "typ": "JWT"}, claims)
        signature = self._key.sign(content.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        return f"{content}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def unsigned_token(self, **claims: Any) -> str:
        """A token that says that it needs no signature."""
        return _content({"alg": "none", "kid": self.key_id}, claims) + "."

    def confused_token(self, **claims: Any) -> str:
        """A token that is signed with the public key, as if that were a shared secret."""
        content = _content({"alg": "HS256", "kid": self.key_id}, claims)
        digest = hmac.new(self.public_pem(), content.encode(), hashlib.sha256).digest()
        return f"{content}.{encoded(digest)}"


def key_set(*issuers: Issuer) -> str:
    """A JWKS file."""
    return json.dumps({"keys": [issuer.jwk() for issuer in issuers]})


def _content(header: dict[str, Any], claims: dict[str, Any]) -> str:
    now = int(time.time())
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "someone",
        "iat": now,
        "nbf": now - 5,
        "exp": now + LIFE_S,
        "plazo_tenant": 1,
        "plazo_actor": "administrator/1",
        "plazo_permissions": ["helpdesk:view", "helpdesk:edit", "builder:edit", "tickets:attend"],
        "plazo_bots": "*",
    }
    merged = {key: value for key, value in {**usual, **claims}.items() if value is not None}
    return ".".join(encoded(json.dumps(part).encode()) for part in (header, merged))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with this token."""
    return (("authorization", f"Bearer {token}"),)

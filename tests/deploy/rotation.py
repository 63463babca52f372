"""Replaces keys and certificates below a cluster that runs, and sees that each was taken up."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from calls import CALL_TIMEOUT_S
from gateway import Files, Gateway, wait_for
from pods import Pod, Pods
from tokens import Issuer, bearer

# Services look at their files every ten seconds.
RELOAD_TIMEOUT_S = 30.0
# The preface of HTTP/2, and settings that set nothing.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# So many new connections come to all of Envoy's threads.
CALLERS = 10
# A call of each service that a token is enough for.
ASKED = {
    "ticketing": "/plazo.ticketing.v1.SettingsService/ListBots",
    "timer": "/plazo.timer.v1.TimerService/ListDueEntries",
    "notification": "/plazo.notification.v1.ChannelAccountService/ListChannelAccounts",
    "history": "/plazo.history.v1.HistorySettingsService/ListHistoryBots",
}


def _connected(pod: Pod, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A new connection to a pod, whoever it is."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection((pod.address, pod.port("grpc")), timeout=5)
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def shown(pod: Pod) -> bytes:
    """The certificate that a pod shows to a new caller; empty when there is no answer."""
    try:
        with _connected(pod, ssl.create_default_context()) as connection:
            return connection.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def trusts(pod: Pod, identity: Path) -> bool:
    """Whether a pod lets in a new caller with the key and certificate in this folder."""
    context = ssl.create_default_context()
    context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
    try:
        with _connected(pod, context) as connection:
            # The server judges the certificate after the handshake; then it greets.
            connection.sendall(HTTP2_GREETING)
            return bool(connection.recv(1))
    except OSError:
        return False


class Rotation:
    """Replaces certificates and their authority, each step when all have taken up the last."""

    def __init__(self, files: Files, pods: Pods, gateway: Gateway) -> None:
        self._files = files
        self._pods = pods
        self._gateway = gateway

    def _everywhere(self, what: str, holds: Callable[[Pod], bool]) -> None:
        """Waits until something holds for all pods that may be called at the same moment."""
        wait_for(what, lambda: all(map(holds, self._pods.serving())), RELOAD_TIMEOUT_S)

    def leaves(self) -> None:
        """New certificates for all, which all show: Envoy to both sides."""
        self._files.renew_leaves()
        self._everywhere("pods show their new certificates", self._shows_its_own)
        wait_for("Envoy has its new certificates", self._envoy_has_its_own, RELOAD_TIMEOUT_S)

    def _shows_its_own(self, pod: Pod) -> bool:
        text = (self._files.certificates / pod.name / "tls.crt").read_text()
        return shown(pod) == ssl.PEM_cert_to_DER_cert(text)

    def authority(self) -> None:
        """Both are trusted; then all show what the new one signed; then the old one goes."""
        old = self._files.authority()
        by_old = self._files.signed_apart("gateway")
        self._files.new_authority()
        new = self._files.authority()
        by_new = self._files.signed_apart("gateway")
        self._files.trust(old, new)
        self._everywhere("pods trust the new authority", lambda pod: trusts(pod, by_new))
        wait_for("Envoy trusts both", lambda: self._envoy_trusts() == 2, RELOAD_TIMEOUT_S)
        self.leaves()
        self._files.trust(new)
        self._everywhere("pods trust the old one no more", lambda pod: not trusts(pod, by_old))
        wait_for("Envoy trusts one", lambda: self._envoy_trusts() == 1, RELOAD_TIMEOUT_S)

    def _envoy_certificates(self, kind: str) -> list[list[dict[str, Any]]]:
        """What Envoy tells of its certificates, or of authorities, where it has them."""
        told = json.loads(self._gateway.admin("/certs"))["certificates"]
        return [each.get(kind, []) for each in told]

    def _envoy_trusts(self) -> int:
        """How many authorities Envoy trusts at back ends."""
        return max(map(len, self._envoy_certificates("ca_cert")))

    def _envoy_has_its_own(self) -> bool:
        """Whether Envoy uses the present certificates, and no others."""
        used = {
            int(each["serial_number"], 16)
            for chain in self._envoy_certificates("cert_chain")
            for each in chain
        }
        files = [self._files.certificates / name / "tls.crt" for name in ("gateway", "public")]
        return used == {
            x509.load_pem_x509_certificate(file.read_bytes()).serial_number for file in files
        }

    def keys(self, old: Issuer, new: Issuer, switch: Callable[[], None]) -> None:
        """Both keys count; then all sign with the new one, for which `switch` is called; then the
        old one counts no more."""
        self._files.write_keys(old, new)
        self._everywhere("pods know the new key", lambda pod: self._takes(pod, new))
        wait_for(
            "Envoy knows the new key", lambda: self._envoy_takes(new) == {True}, RELOAD_TIMEOUT_S
        )
        switch()
        self._files.write_keys(new)
        self._everywhere("pods forget the old key", lambda pod: not self._takes(pod, old))
        wait_for(
            "Envoy forgets the old key", lambda: self._envoy_takes(old) == {False}, RELOAD_TIMEOUT_S
        )

    def _takes(self, pod: Pod, issuer: Issuer) -> bool:
        """Whether a pod believes the tokens of an issuer, past the gateway."""
        folder = self._files.certificates / "gateway"
        credentials = grpc.ssl_channel_credentials(
            *((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        )
        address = f"{pod.address}:{pod.port('grpc')}"
        options = (("grpc.ssl_target_name_override", pod.name),)
        with grpc.secure_channel(address, credentials, options=options) as channel:
            return _believes(channel, ASKED[pod.name], issuer)

    def _envoy_takes(self, issuer: Issuer) -> set[bool]:
        """Whether Envoy believes the tokens of an issuer, as many new callers find it: each of its
        threads learns of keys by itself."""
        answers = set()
        for _ in range(CALLERS):
            with self._gateway.channel() as channel:
                answers.add(_believes(channel, ASKED["ticketing"], issuer))
        return answers


def _believes(channel: grpc.Channel, method: str, issuer: Issuer) -> bool:
    """Whether a call with a token of this issuer is answered, and not refused for the token."""
    try:
        channel.unary_unary(method)(b"", metadata=bearer(issuer.token()), timeout=CALL_TIMEOUT_S)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAUTHENTICATED:
            raise
        return False
    return True

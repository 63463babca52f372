"""The manifests, run: two replicas of each service behind Envoy, with TLS and tokens, scraped by
Prometheus; every deployment is replaced, and keys, certificates and their authority are, while
conversations go on."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import ssl
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plazo.ticketing.v1 import ticket_pb2 as ticket

from conversations import Desk
from gateway import Files, Gateway, wait_for
from pods import Pod, Pods, has_namespaces, in_namespace
from repository import SERVICES
from scraper import Scraper
from tokens import Issuer

REPLICAS = 2
# How late a stage may be while everything is replaced, in seconds.
LATE_S = 2.5
# Services look at their files every ten seconds.
RELOAD_TIMEOUT_S = 30.0
LAST_CONVERSATIONS = 4
# Of the objectives, and of what a cluster in order never shows.
QUIET_ALERTS = {
    "PlazoStageEarly",
    "PlazoStagesLateSlow",
    "PlazoStagesOverdue",
    "PlazoServiceDown",
    "PlazoTargetDown",
    "PlazoRelayLag",
    "PlazoCertificateExpires",
    "PlazoCertificateExpiring",
}
# The preface of HTTP/2, and settings that set nothing.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def look_names_up(configuration: dict[str, Any]) -> None:
    """Lets Envoy ask the system, since its own resolver reads the file of hosts only once."""
    configuration["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.getaddrinfo",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3"
            ".GetAddrInfoDnsResolverConfig"
        },
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
        """New certificates for all, which all show."""
        self._files.renew_leaves()
        self._everywhere("pods show their new certificates", self._shows_its_own)

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

    def _envoy_trusts(self) -> int:
        """How many authorities Envoy trusts at back ends."""
        told = json.loads(self._gateway.admin("/certs"))["certificates"]
        return max(len(each.get("ca_cert", [])) for each in told)


@unittest.skipUnless(has_namespaces(), "no mount namespaces for this account (unshare)")
class RollingTest(unittest.TestCase):
    """One run."""

    def setUp(self) -> None:
        self.files = Files()
        self.addCleanup(self.files.remove)
        self.issuer = Issuer()
        self.files.write_keys(self.issuer)
        self.scraper = Scraper()
        self.addCleanup(self.scraper.stop)
        self.pods = Pods(self.files)
        self.pods.on_change = self.scraper.follow
        self.addCleanup(self.pods.stop)
        self.pods.start()
        self.gateway = Gateway(
            self.files,
            {},
            look_names_up,
            wrap=lambda command: in_namespace(self.pods.hosts, command),
        )
        self.gateway.start()
        self.addCleanup(self.gateway.stop)
        for name in SERVICES:
            wait_for(f"both of {name}", lambda: self.gateway.healthy(name) == REPLICAS)
        self.desk = Desk(self.gateway, self.issuer, tenant=1)
        self.addCleanup(self.desk.close)

    def test_nothing_fails_while_everything_is_replaced(self) -> None:
        desk, scraper = self.desk, self.scraper
        scraper.wait_until_all_up(REPLICAS)
        desk.start()
        try:
            self._replace_everything()
        finally:
            desk.end()
        self.assertEqual(set(desk.outcomes), {"OK"}, desk.outcomes)
        desk.wait_until_quiet(LATE_S)
        verdict = desk.judge(LATE_S)
        self.assertFalse(verdict.problems, verdict.problems[:10])
        self.assertGreater(len(desk.conversations), 50)
        self._compare_with_prometheus()

    def _replace_everything(self) -> None:
        """Deployments one pod after the other, all at once; keys of tokens and certificates beside
        them."""
        second = Issuer("second")
        rotation = Rotation(self.files, self.pods, self.gateway)
        self.files.write_keys(self.issuer, second)
        with concurrent.futures.ThreadPoolExecutor(len(SERVICES)) as pool:
            rolling = [pool.submit(self.pods.replace, name) for name in SERVICES]
            rotation.leaves()
            rotation.authority()
            for each in rolling:
                each.result()
        # By now all know both keys.
        self.desk.issuer = second
        self.files.write_keys(second)
        before = self.desk.outcomes["OK"]
        wait_for(
            f"calls with the new key ({self.desk.outcomes})",
            lambda: self.desk.outcomes["OK"] > before + 50 or len(self.desk.outcomes) > 1,
        )

    def _stages_counted(self) -> dict[str, float]:
        self.scraper.wait_until_scraped_since(time.time())
        return self.scraper.query("sum by (stage) (plazo_ticketing_stages_fired_total)")

    def _compare_with_prometheus(self) -> None:
        """From rest to rest it counts what the events tell; over all never more than they do, as
        what a pod did last may have been scraped no more."""
        desk, scraper = self.desk, self.scraper
        scraper.wait_until_all_up(REPLICAS)
        fired_before = desk.judge(LATE_S).fired
        counted_before = self._stages_counted()
        desk.start(LAST_CONVERSATIONS)
        desk.join()
        desk.wait_until_quiet(LATE_S)
        verdict = desk.judge(LATE_S)
        self.assertFalse(verdict.problems, verdict.problems[:10])
        self.assertEqual(set(desk.outcomes), {"OK"}, desk.outcomes)
        counted = self._stages_counted()
        names = {
            f"stage={ticket.Stage.Name(stage).removeprefix('STAGE_').lower()}": stage
            for stage in verdict.fired
        }
        for name, stage in names.items():
            self.assertGreater(verdict.fired[stage], fired_before[stage])
            self.assertEqual(
                counted[name] - counted_before[name],
                verdict.fired[stage] - fired_before[stage],
                name,
            )
        total = scraper.query("sum(max_over_time(plazo_ticketing_stages_fired_total[15m]))")[""]
        self.assertLessEqual(total, sum(verdict.fired.values()))
        self.assertGreater(total, 0.5 * sum(verdict.fired.values()))
        early = scraper.query("sum(max_over_time(plazo_ticketing_early_stages_total[15m]))")
        self.assertEqual(early, {"": 0.0})
        self.assertEqual(scraper.down(), {})
        self.assertEqual(scraper.firing() & QUIET_ALERTS, set())


if __name__ == "__main__":
    unittest.main()

"""The manifests, run: two replicas of each service behind Envoy, with TLS and tokens, scraped by
Prometheus; every deployment is replaced, and keys, certificates and their authority are, while
conversations go on, people read reports and messages, and views stay open."""

from __future__ import annotations

import concurrent.futures
import time
import unittest
from typing import Any

from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as service
from plazo.ticketing.v1 import ticket_service_pb2_grpc

from calls import Calls
from conversations import Desk
from gateway import Files, Gateway, wait_for
from ledger import STAGES, Verdict
from pods import Pods, has_namespaces, in_namespace
from provider import Provider
from readers import Readers
from repository import SERVICES
from rotation import Rotation
from scraper import Scraper
from tokens import Issuer
from watching import GrpcStreams, Watcher, WebStreams

REPLICAS = 2
TENANT = 1
# How late a stage may be, in seconds: the objective. Faults 6 and 32 have no time of their own in
# which to recover, since no service is away at any moment.
LATE_S = 1.0
# Against the stages whose loss shows, so many may be lost without being noticed at most: on a
# machine that falls behind, people write at other moments than they should.
SELDOM = 0.1
LAST_CONVERSATIONS = 4
# Until history and the views have heard of the last event.
TOLD_WITHIN_S = 10.0
# Calls of each kind that must have been answered while everything was replaced.
ENOUGH_CALLS = 20


def look_names_up(configuration: dict[str, Any]) -> None:
    """Lets Envoy ask the system, since its own resolver reads the file of hosts only once."""
    configuration["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.getaddrinfo",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3"
            ".GetAddrInfoDnsResolverConfig"
        },
    }


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
        self.provider = Provider()
        self.addCleanup(self.provider.stop)
        self.pods = Pods(self.files)
        self.pods.secrets["notification-credentials"] = self.provider.secret(TENANT)
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
        self.calls = Calls(self.issuer, TENANT)
        self.desk = Desk(self.gateway, self.calls, self.provider)
        self.addCleanup(self.desk.close)
        self.watchers = [
            Watcher(self.calls, self.desk.bot_id, streams)
            for streams in (GrpcStreams(self.gateway), WebStreams(self.gateway))
        ]
        for watcher in self.watchers:
            self.addCleanup(watcher.stop)
        self.readers = Readers(self.gateway, self.calls, self.desk.bot_id)
        self.addCleanup(self.readers.stop)

    def test_nothing_fails_while_everything_is_replaced(self) -> None:
        self.scraper.wait_until_all_up(REPLICAS)
        self.readers.start()
        self.desk.start()
        try:
            self._replace_everything()
        finally:
            self.desk.end()
        self._check_calls()
        self.desk.wait_until_quiet(LATE_S)
        verdict = self._judge()
        self.assertGreater(len(self.desk.conversations), 50)
        self.assertGreater(self.desk.outreach_count, 10)
        for stage in STAGES:
            name = ticket.Stage.Name(stage)
            self.assertGreaterEqual(verdict.bound[stage], verdict.ended[stage], name)
            self.assertLessEqual(verdict.unseen[stage], SELDOM * verdict.bound[stage], name)
        self._check_what_was_shown(verdict)
        self._compare_with_prometheus()

    def _judge(self) -> Verdict:
        """What became of everything; fails at the first problem."""
        verdict = self.desk.judge(LATE_S)
        self.assertFalse(verdict.problems, verdict.problems[:10])
        self._check_calls()
        for pod in self.pods.serving():
            pod.check_memory()
        return verdict

    def _check_calls(self) -> None:
        """Fails if a call or a probe has failed."""
        self.assertEqual(set(self.calls.outcomes), {"OK"}, self.calls.outcomes)
        self.assertEqual(set(self.provider.outcomes), {"OK"}, self.provider.outcomes)
        self.assertEqual(self.pods.failed_probes, [])

    def _replace_everything(self) -> None:
        """Deployments one pod after the other, all at once; certificates and keys of tokens beside
        them."""
        replaced = set(self.pods.serving())
        answered = self.calls.answered.copy()
        rotation = Rotation(self.files, self.pods, self.gateway)
        with concurrent.futures.ThreadPoolExecutor(len(SERVICES)) as pool:
            rolling = [pool.submit(self.pods.replace, name) for name in SERVICES]
            rotation.leaves()
            rotation.authority()
            rotation.keys(
                self.issuer, second := Issuer("second"), lambda: self.calls.sign_by(second)
            )
            for each in rolling:
                each.result()
        self.assertFalse(replaced & set(self.pods.serving()))
        self.assertTrue(all(pod.process.poll() == 0 for pod in replaced))
        before = self.calls.answered.copy()
        wait_for(
            "all calls go on with the new key and certificates",
            lambda: all(self.calls.answered[name] > before[name] + 1 for name in before - answered),
        )
        few = {name: count for name, count in (before - answered).items() if count < ENOUGH_CALLS}
        self.assertFalse(few, before - answered)

    def _check_what_was_shown(self, verdict: Verdict) -> None:
        """Views and history know what the events tell, and went on over each restart."""
        closed = {each.ticket_id for each in self.desk.conversations if not each.is_answered}
        wait_for(
            "a CSV has all closed tickets", lambda: self.readers.exported == closed, TOLD_WITHIN_S
        )
        self.assertLessEqual(self.readers.gone, verdict.reopened)
        truth = self._tickets()
        for watcher in self.watchers:
            wait_for(
                "a view has all tickets as they are",
                lambda: {key: each.etag for key, each in watcher.view.copy().items()} == truth,
                TOLD_WITHIN_S,
            )
            self.assertGreater(watcher.resumed, 0)
            self.assertEqual(watcher.snapshots, 1, watcher.ends)
            self.assertEqual(watcher.unseen(verdict.shown), [], watcher.gaps)

    def _tickets(self) -> dict[int, str]:
        """The etags of all tickets, by their ids."""
        states = [ticket.TICKET_STATE_WAITING, ticket.TICKET_STATE_OPEN, ticket.TICKET_STATE_CLOSED]
        request = service.ListTicketsRequest(
            filter=service.TicketFilter(states=states), page_size=500
        )
        found: dict[int, str] = {}
        with self.gateway.channel() as channel:
            stub = ticket_service_pb2_grpc.TicketServiceStub(channel)
            while True:
                answer = self.calls(stub.ListTickets, request, self.calls.actor())
                found |= {each.ticket_id: each.etag for each in answer.tickets}
                if not answer.next_page_token:
                    return found
                request.page_token = answer.next_page_token

    def _stages_counted(self) -> dict[str, float]:
        self.scraper.wait_until_scraped_since(time.time())
        return self.scraper.query("sum by (stage) (plazo_ticketing_stages_fired_total)")

    def _compare_with_prometheus(self) -> None:
        """From rest to rest it counts what the events tell; over all never more than they do, as
        what a pod did last may have been scraped no more."""
        desk, scraper = self.desk, self.scraper
        scraper.wait_until_all_up(REPLICAS)
        fired_before = self._judge().fired
        counted_before = self._stages_counted()
        desk.start(LAST_CONVERSATIONS)
        desk.join()
        desk.wait_until_quiet(LATE_S)
        verdict = self._judge()
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
        self.assertEqual(scraper.fired(), set())


if __name__ == "__main__":
    unittest.main()

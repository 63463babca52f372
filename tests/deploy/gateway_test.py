"""What the gateway does with calls, good and bad. The services behind it are stand-ins that note
what reaches them, with TLS as in production."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import ssl
import struct
import threading
import time
import unittest
from collections.abc import Iterator
from typing import Any

import grpc

from gateway import Files, Gateway, Recorder, http_filter, http_settings, wait_for
from repository import SERVICES, methods, public_methods
from tokens import Issuer, bearer

GET_BOT = "/plazo.ticketing.v1.SettingsService/GetBot"
WATCH = "/plazo.ticketing.v1.TicketService/WatchTickets"
MESSAGE_MAX = 4 << 20
CALL_TIMEOUT_S = 10.0
# The shipped bounds for dawdlers are 10 and 30 s, and new keys count within 10 s; a test need not
# wait for them.
HEADERS_BOUND_S, REQUEST_BOUND_S, KEYS_BOUND_S = 1, 2, 1
Outcome = grpc.StatusCode


def shorten(configuration: dict[str, Any]) -> None:
    """Makes bounds of time short; which are there at all is left as it is shipped."""
    settings = http_settings(configuration)
    for key, bound_s in (
        ("request_headers_timeout", HEADERS_BOUND_S),
        ("request_timeout", REQUEST_BOUND_S),
    ):
        if key not in settings:
            raise AssertionError(f"the gateway has no {key}")
        settings[key] = f"{bound_s}s"
    (provider,) = http_filter(configuration, "jwt_authn")["providers"].values()
    provider["remote_jwks"]["cache_duration"] = f"{KEYS_BOUND_S}s"


class GatewayTest(unittest.TestCase):
    """One Envoy before two replicas of each service."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.files = Files()
        cls.addClassCleanup(cls.files.remove)
        cls.issuer = Issuer()
        cls.files.write_keys(cls.issuer)
        cls.backends = {name: [Recorder(cls.files, name) for _ in range(2)] for name in SERVICES}
        for recorders in cls.backends.values():
            for recorder in recorders:
                cls.addClassCleanup(recorder.stop)
        endpoints = {
            name: [recorder.endpoint for recorder in recorders]
            for name, recorders in cls.backends.items()
        }
        cls.gateway = Gateway(cls.files, endpoints, shorten)
        cls.gateway.validate()
        cls.gateway.start()
        cls.addClassCleanup(cls.gateway.stop)
        for name in SERVICES:
            wait_for(f"both of {name} are healthy", lambda: cls.gateway.healthy(name) == 2)

    def setUp(self) -> None:
        self.channel = self.gateway.channel()
        self.addCleanup(self.channel.close)
        for recorder in self.recorders():
            recorder.calls.clear()
            recorder.failures_left = 0
            recorder.stream_answers = 1
            recorder.release.set()

    def recorders(self, *names: str) -> list[Recorder]:
        return [each for name in names or SERVICES for each in self.backends[name]]

    def reached(self, *names: str) -> list[str]:
        """The paths of the calls that reached services."""
        return [path for recorder in self.recorders(*names) for path, _ in recorder.calls]

    def call(
        self,
        path: str = GET_BOT,
        token: str | None = "",
        request: bytes = b"",
        metadata: tuple[tuple[str, str], ...] = (),
        channel: grpc.Channel | None = None,
    ) -> Outcome:
        """Makes one call, by default with a good token, and returns the code of its answer."""
        if token == "":
            token = self.issuer.token()
        credentials = bearer(token) if token is not None else ()
        stub = (channel or self.channel).unary_unary(path)
        try:
            stub(request, metadata=(*credentials, *metadata), timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code()
        return Outcome.OK

    # What has a way through.

    def test_public_calls_reach_their_service_and_others_none(self) -> None:
        for path, process in methods().items():
            for recorder in self.recorders():
                recorder.calls.clear()
            with self.subTest(path):
                if path in public_methods():
                    self.assertEqual(self.call(path), Outcome.OK)
                    self.assertEqual(self.reached(), [path])
                    self.assertEqual(self.reached(process), [path])
                else:
                    self.assertEqual(self.call(path), Outcome.UNIMPLEMENTED)
                    self.assertEqual(self.reached(), [])

    def test_other_paths_lead_nowhere(self) -> None:
        for path in (
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/plazo.ticketing.v1.FeedService%2FStreamEvents",
            "/plazo.ticketing.v1.TicketService/../plazo.ticketing.v1.FeedService/StreamEvents",
            "//plazo.ticketing.v1.FeedService/StreamEvents",
        ):
            with self.subTest(path):
                self.assertNotEqual(self.call(path), Outcome.OK)
                self.assertEqual(self.reached(), [])

    def test_services_know_the_gateway_by_its_certificate(self) -> None:
        self.assertEqual(self.call(), Outcome.OK)
        callers = set().union(*(each.callers for each in self.recorders("ticketing")))
        self.assertEqual(callers, {"spiffe://plazo/ns/plazo/sa/gateway"})

    def test_calls_go_to_all_replicas(self) -> None:
        for _ in range(40):
            self.assertEqual(self.call(), Outcome.OK)
        self.assertTrue(all(each.calls for each in self.recorders("ticketing")))

    # Who calls.

    def test_bad_tokens_are_refused(self) -> None:
        now = int(time.time())
        stranger = Issuer(self.issuer.key_id)
        for name, token in {
            "none": None,
            "no token at all": "nonsense",
            "another issuer": self.issuer.token(iss="https://elsewhere.example"),
            "for another": self.issuer.token(aud="other"),
            "expired": self.issuer.token(exp=now - 120),
            "for ever": self.issuer.token(exp=None),
            "not yet": self.issuer.token(nbf=now + 600),
            "signed by a stranger": stranger.token(),
            "unknown key": Issuer("second").token(),
            "unsigned": self.issuer.unsigned_token(),
            "signed with the public key": self.issuer.confused_token(),
            "changed": self.issuer.token()[:-6] + "AAAAAA",
        }.items():
            with self.subTest(name):
                self.assertEqual(self.call(token=token), Outcome.UNAUTHENTICATED)
                self.assertEqual(self.reached(), [])

    def test_internal_calls_are_as_far_away_without_a_token(self) -> None:
        for path in set(methods()) - public_methods():
            self.assertEqual(self.call(path, token=None), Outcome.UNAUTHENTICATED)
        self.assertEqual(self.reached(), [])

    def test_the_token_is_passed_on_and_claims_in_metadata_are_not(self) -> None:
        token = self.issuer.token()
        claims = (
            ("plazo-tenant", "2"),
            ("plazo-actor", "service/timer"),
            ("plazo-permissions", "service"),
            ("plazo-bots", "*"),
            ("plazo-anything", "else"),
            ("x-forwarded-client-cert", "URI=spiffe://plazo/ns/plazo/sa/timer"),
        )
        self.assertEqual(self.call(token=token, metadata=claims), Outcome.OK)
        ((_, metadata),) = (call for each in self.recorders("ticketing") for call in each.calls)
        self.assertEqual(metadata["authorization"], f"Bearer {token}")
        self.assertEqual([key for key in metadata if key.startswith("plazo-")], [])
        self.assertNotIn("timer", metadata.get("x-forwarded-client-cert", ""))

    # How much.

    def test_a_message_that_is_too_large_is_refused(self) -> None:
        largest = bytes(MESSAGE_MAX)
        self.assertEqual(self.call(request=largest), Outcome.OK)
        self.assertEqual(len(self.reached()), 1)
        self.assertEqual(self.call(request=largest + b"0"), Outcome.RESOURCE_EXHAUSTED)
        self.assertEqual(self.call(request=bytes(3 * MESSAGE_MAX)), Outcome.RESOURCE_EXHAUSTED)
        self.assertEqual(len(self.reached()), 1)
        self.assertEqual(self.call(), Outcome.OK)

    def test_headers_that_are_too_large_are_refused(self) -> None:
        self.assertNotEqual(self.call(metadata=(("x-filler", "x" * 17_000),)), Outcome.OK)
        many = tuple((f"x-filler-{index}", "x") for index in range(70))
        self.assertNotEqual(self.call(metadata=many), Outcome.OK)
        self.assertEqual(self.reached(), [])
        self.assertEqual(self.call(), Outcome.OK)

    # How long.

    def test_streams_last(self) -> None:
        """Longer than any bound for requests, and to both ends at once."""
        for each in self.recorders("ticketing"):
            each.stream_answers = 4
            each.release.clear()
        stream = self.channel.unary_stream(WATCH)(b"", metadata=bearer(self.issuer.token()))
        wait_for("the stream is open", lambda: bool(self.reached()))
        # Nothing comes for longer than a whole request may take.
        silent_until = time.monotonic() + REQUEST_BOUND_S + 0.5
        wait_for("the silence is over", lambda: time.monotonic() > silent_until)
        for each in self.recorders("ticketing"):
            each.release.set()
        self.assertEqual(len(list(stream)), 4)

    def test_the_callers_deadline_is_kept_and_passed_on(self) -> None:
        for each in self.recorders("ticketing"):
            each.release.clear()
        stub = self.channel.unary_unary(GET_BOT)
        with self.assertRaises(grpc.RpcError) as caught:
            stub(b"", metadata=bearer(self.issuer.token()), timeout=0.5)
        self.assertEqual(caught.exception.code(), Outcome.DEADLINE_EXCEEDED)
        (recorder,) = (each for each in self.recorders("ticketing") if each.calls)
        assert recorder.time_left_s is not None
        self.assertTrue(0 < recorder.time_left_s <= 0.5, recorder.time_left_s)

    # When services fail.

    def test_unavailable_is_repeated(self) -> None:
        for each in self.recorders("ticketing"):
            each.failures_left = 1
        self.assertEqual(self.call(), Outcome.OK)
        self.assertGreaterEqual(len(self.reached()), 2)

    def test_repeating_ends(self) -> None:
        for each in self.recorders("ticketing"):
            each.failures_left = 1_000
        self.assertEqual(self.call(), Outcome.UNAVAILABLE)
        self.assertEqual(len(self.reached()), 5, "a call and four repetitions")

    def test_repetitions_have_a_budget(self) -> None:
        """Many calls that fail do not become several times as many."""
        calls = 200
        for each in self.recorders("history"):
            each.failures_left = 100_000
        path = "/plazo.history.v1.HistoryService/SearchContacts"
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            outcomes = list(pool.map(lambda _: self.call(path), range(calls)))
        self.assertEqual(set(outcomes), {Outcome.UNAVAILABLE})
        overflown = self.gateway.statistic("cluster.history.upstream_rq_retry_overflow")
        self.assertGreater(overflown, 0)
        self.assertLess(len(self.reached("history")), 3 * calls)

    def test_a_replica_that_goes_costs_no_call(self) -> None:
        leaving, staying = self.recorders("notification")
        path = "/plazo.notification.v1.NotificationService/GetActiveMessage"
        leaving.healthy = False
        try:
            for _ in range(100):
                self.assertEqual(self.call(path), Outcome.OK)
            wait_for("it is out", lambda: self.gateway.healthy("notification") == 1)
            leaving.calls.clear()
            for _ in range(20):
                self.assertEqual(self.call(path), Outcome.OK)
            self.assertEqual(leaving.calls, [])
            self.assertTrue(staying.calls)
        finally:
            leaving.healthy = True
        wait_for("it is back", lambda: self.gateway.healthy("notification") == 2)

    # Callers that are slow, or broken.

    def connect(self, *protocols: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.files.public_authority().decode())
        context.set_alpn_protocols(list(protocols))
        plain = socket.create_connection(("127.0.0.1", self.gateway.port), timeout=CALL_TIMEOUT_S)
        secure = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(secure.close)
        return secure

    def test_who_dawdles_with_headers_is_cut_off(self) -> None:
        connection = self.connect("http/1.1")
        connection.sendall(b"POST /plazo HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        started = time.monotonic()
        answer = read_all(connection)
        self.assertIn(b" 408 ", answer)
        self.assertLess(time.monotonic() - started, CALL_TIMEOUT_S)

    def test_who_dawdles_with_the_message_is_cut_off(self) -> None:
        given_up = threading.Event()
        self.addCleanup(given_up.set)

        def request() -> Iterator[bytes]:
            yield b"a beginning"
            given_up.wait(CALL_TIMEOUT_S)

        stub = self.channel.stream_unary(GET_BOT)
        with self.assertRaises(grpc.RpcError) as caught:
            stub(request(), metadata=bearer(self.issuer.token()), timeout=CALL_TIMEOUT_S)
        self.assertEqual(caught.exception.code(), Outcome.DEADLINE_EXCEEDED)
        self.assertEqual(caught.exception.details(), "request timeout")
        self.assertEqual(self.reached(), [])

    def test_a_web_page_that_dawdles_is_cut_off(self) -> None:
        connection = self.connect("http/1.1")
        head = (
            f"POST {GET_BOT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc-web\r\n"
            f"Authorization: Bearer {self.issuer.token()}\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"\0\0\0\x03\xe3only a part")
        answer = read_all(connection)
        self.assertIn(b" 408 ", answer)
        self.assertEqual(self.reached(), [])

    def test_broken_callers_leave_nothing_behind(self) -> None:
        for garbage in (
            b"\0" * 64,
            b"GET / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">BHBBL", 0xFF, 0xFFFF, 1, 4, 1),
        ):
            connection = self.connect("h2")
            connection.sendall(garbage)
            read_all(connection)
        # Without TLS.
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # Envoy may have closed it already.
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_WR)
            self.assertNotIn(b" 200 ", read_all(plain))
        # In the midst of a stream.
        for each in self.recorders("ticketing"):
            each.release.clear()
        channel = self.gateway.channel()
        stream = channel.unary_stream(WATCH)(b"", metadata=bearer(self.issuer.token()))
        wait_for("the stream is open", lambda: bool(self.reached()))
        channel.close()
        self.assertFalse(stream.is_active())
        wait_for(
            "the service's stream ends too",
            lambda: self.gateway.statistic("cluster.ticketing.upstream_rq_active") == 0,
        )
        for each in self.recorders("ticketing"):
            each.release.set()
        self.assertEqual(self.call(), Outcome.OK)

    # What is written down, and what changes.

    def test_the_access_log_tells_no_tokens_bodies_or_addresses(self) -> None:
        token = self.issuer.token(sub="maria@example.com")
        metadata = (("x-customer", "Maria da Silva"), ("user-agent", "desk of Maria"))
        self.assertEqual(self.call(token=token, metadata=metadata, request=b"Maria"), Outcome.OK)
        wait_for(
            "the call is in the log",
            lambda: any(
                each["route"] == GET_BOT.rsplit("/", 1)[0].removeprefix("/")
                and each["grpc_status"] == "OK"
                for each in self.gateway.accesses()
            ),
        )
        log = self.gateway.log()
        for secret in ("Maria", "maria", token, token.split(".")[2]):
            self.assertNotIn(secret, log)

    def test_certificates_are_replaced_while_it_runs(self) -> None:
        before = self.serial_seen()
        self.files.renew("public", "gateway")
        wait_for("callers see the new one", lambda: self.serial_seen() != before)
        self.assertEqual(self.call(channel=self.gateway.channel()), Outcome.OK)

    def serial_seen(self) -> str:
        seen = self.connect("h2").getpeercert()
        assert seen is not None
        return str(seen["serialNumber"])

    def test_keys_of_tokens_are_replaced_while_it_runs(self) -> None:
        second = Issuer("second")
        self.assertEqual(self.call(token=second.token()), Outcome.UNAUTHENTICATED)
        self.files.write_keys(self.issuer, second)
        try:
            wait_for("the new key counts", lambda: self.call(token=second.token()) == Outcome.OK)
            self.assertEqual(self.call(), Outcome.OK)
        finally:
            self.files.write_keys(self.issuer)
        wait_for(
            "the old key does not",
            lambda: self.call(token=second.token()) == Outcome.UNAUTHENTICATED,
        )


def read_all(connection: socket.socket) -> bytes:
    """What the other end says until it closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except (ConnectionError, ssl.SSLError):
        pass
    return received


if __name__ == "__main__":
    unittest.main()

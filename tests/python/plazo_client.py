"""A client of Plazo that knows the protos and nothing else.

The modules under `plazo` are generated from `proto/`. Whoever makes a call is told in metadata, and
a refusal is read from the rich error that travels in the trailers, as any other back end would do
both.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from plazo.history.v1 import history_service_pb2_grpc
from plazo.history.v1 import settings_service_pb2_grpc as history_settings_pb2_grpc
from plazo.notification.v1 import notification_service_pb2_grpc
from plazo.ticketing.v1 import (
    contact_pb2_grpc,
    feed_service_pb2_grpc,
    settings_pb2_grpc,
    ticket_service_pb2_grpc,
)
from plazo.timer.v1 import timer_service_pb2_grpc

CALL_TIMEOUT_S = 10.0

# The answer "SERVING" of the standard health protocol; the message is a single enum.
_HEALTH_SERVING = b"\x08\x01"

_CHANNEL_OPTIONS = (
    # A service that comes back is found again at once, not after a backoff of minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    # Two clients of one cluster have a connection each, as two back ends would.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Addresses:
    """Where the four services listen, each as host:port."""

    ticketing: str
    timer: str
    notification: str
    history: str

    def all(self) -> tuple[str, ...]:
        """The addresses in the order in which the services are named."""
        return (self.ticketing, self.timer, self.notification, self.history)


@dataclass(frozen=True)
class Actor:
    """Who makes a call: `kind` is agent, bot, administrator or service; `bots` None leaves the key
    out."""

    tenant_id: int
    kind: str
    which: int | str
    permissions: tuple[str, ...] = ()
    bots: tuple[int, ...] | None = None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that says so."""
        pairs = [
            ("plazo-tenant", str(self.tenant_id)),
            ("plazo-actor", f"{self.kind}/{self.which}"),
            ("plazo-permissions", ",".join(self.permissions)),
        ]
        if self.bots is not None:
            pairs.append(("plazo-bots", ",".join(map(str, self.bots))))
        return tuple(pairs)


class _CallDetails(
    collections.namedtuple(
        "_CallDetails", ("method", "timeout", "metadata", "credentials", "wait_for_ready")
    ),
    grpc.ClientCallDetails,
):
    """grpcio asks interceptors for an object of its own base class and offers none that can be
    made."""


class _Signing(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the actor into each call, and a deadline into those that have none."""

    def __init__(self, actor: Actor | None) -> None:
        self._metadata = actor.metadata() if actor else ()

    def _signed(self, details: grpc.ClientCallDetails) -> _CallDetails:
        return _CallDetails(
            details.method,
            details.timeout or CALL_TIMEOUT_S,
            (*(details.metadata or ()), *self._metadata),
            details.credentials,
            # While a service starts again, a call waits for it up to its deadline.
            True,
        )

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._signed(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._signed(client_call_details), request)


class Client:
    """The calls of one actor, on connections that several actors may share."""

    def __init__(
        self,
        addresses: Addresses,
        actor: Actor | None,
        channels: Sequence[grpc.Channel] | None = None,
    ) -> None:
        self._addresses = addresses
        self._channels = channels or tuple(
            grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) for address in addresses.all()
        )
        signed = [grpc.intercept_channel(channel, _Signing(actor)) for channel in self._channels]
        ticketing, timer, notification, history = signed
        # For calls with bytes that the generated code would not send.
        self.ticketing_channel = ticketing
        # For services that only some tests call.
        self.notification_channel, self.history_channel = notification, history
        self.tickets = ticket_service_pb2_grpc.TicketServiceStub(ticketing)
        self.settings = settings_pb2_grpc.SettingsServiceStub(ticketing)
        self.contacts = contact_pb2_grpc.ContactServiceStub(ticketing)
        self.feed = feed_service_pb2_grpc.FeedServiceStub(ticketing)
        self.timer = timer_service_pb2_grpc.TimerServiceStub(timer)
        self.notification = notification_service_pb2_grpc.NotificationServiceStub(notification)
        self.history = history_service_pb2_grpc.HistoryServiceStub(history)
        self.history_settings = history_settings_pb2_grpc.HistorySettingsServiceStub(history)

    def acting_as(self, actor: Actor | None) -> Client:
        """The same connections for another actor; None says nothing about who calls."""
        return Client(self._addresses, actor, self._channels)

    def close(self) -> None:
        """Ends the connections, also for the other actors on them."""
        for channel in self._channels:
            channel.close()


def wait_until_serving(addresses: Sequence[str], timeout_s: float) -> int:
    """Waits until all services say that they serve, and returns the instant at which the last one
    did, in microseconds since 1970. Raises TimeoutError that names the ones that don't."""
    give_up_at = time.monotonic() + timeout_s
    waiting = list(addresses)
    while waiting:
        waiting = [address for address in waiting if not _is_serving(address)]
        if waiting and time.monotonic() > give_up_at:
            raise TimeoutError(f"not serving after {timeout_s} s: {', '.join(waiting)}")
        time.sleep(0.02 if waiting else 0)
    return now_us()


def _is_serving(address: str) -> bool:
    with grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return check(b"", timeout=1.0) == _HEALTH_SERVING
        except grpc.RpcError:
            return False


def pages(
    call: Callable[[Any], Any], request: Any, field: str, page_size: int = 100
) -> Iterator[Any]:
    """Everything that a List call has, page by page. `field` holds the rows of the answer."""
    page = type(request)()
    page.CopyFrom(request)
    page.page_size = page_size
    while True:
        answer = call(page)
        yield from getattr(answer, field)
        if not answer.next_page_token:
            return
        page.page_token = answer.next_page_token


def now_us() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1_000


def to_us(timestamp: Timestamp) -> int:
    """An instant of a message, in microseconds since 1970."""
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1_000


@dataclass(frozen=True)
class Refusal:
    """A refused call: its code, and what the rich error says about why."""

    code: grpc.StatusCode
    domain: str
    reason: str
    info: dict[str, str]
    violations: dict[str, str]
    message: str


def refusal(error: grpc.RpcError) -> Refusal:
    """Reads a refused call. A call without the rich error has empty values, and so shows up in
    tests."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, bad_request):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    return Refusal(
        code=error.code(),
        domain=info.domain,
        reason=info.reason,
        info=dict(info.metadata),
        violations={each.field: each.description for each in bad_request.field_violations},
        message=error.details(),
    )

"""Views that somebody keeps open while everything is replaced: streams of WatchTickets through the
gateway, which end with each replica and go on from their last position."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import grpc
from google.rpc import error_details_pb2, status_pb2
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as service
from plazo.ticketing.v1 import ticket_service_pb2_grpc

from calls import Calls
from gateway import Gateway
from ledger import US, Shown

METHOD = "/plazo.ticketing.v1.TicketService/WatchTickets"
# Services say something every ten seconds.
SILENCE_S = 30.0
# The bit of a frame's first byte by which gRPC-web tells trailers.
TRAILERS = 0x80
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
# What a view may be told late, beside the time in which its stream was gone.
LATE_US = 1 * US


class StreamEnded(Exception):
    """A stream ended with this code of gRPC and this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


def _reason(details: bytes, text: str) -> str:
    """The reason of an error; its text when it has none."""
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return text


class GrpcStreams:
    """By gRPC, all on one connection."""

    def __init__(self, gateway: Gateway) -> None:
        self._channel = gateway.channel()
        self._call: grpc.Call | None = None

    def open(
        self, request: service.WatchTicketsRequest, metadata: tuple[tuple[str, str], ...]
    ) -> Iterator[service.WatchTicketsResponse]:
        """The messages of a new stream. Raises StreamEnded at its end."""
        stub = ticket_service_pb2_grpc.TicketServiceStub(self._channel)
        call = stub.WatchTickets(request, metadata=metadata)
        self._call = call
        try:
            yield from call
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            details = trailers.get("grpc-status-details-bin", b"")
            text = error.details() or ""
            raise StreamEnded(error.code().value[0], _reason(details, text)) from error
        raise StreamEnded(0, "it just ended")

    def stop(self) -> None:
        """Ends the stream."""
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()


class WebStreams:
    """By gRPC-web over HTTP/1.1, each on a connection of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._socket: socket.socket | None = None

    def open(
        self, request: service.WatchTicketsRequest, metadata: tuple[tuple[str, str], ...]
    ) -> Iterator[service.WatchTicketsResponse]:
        """The messages of a new stream. Raises StreamEnded at its end."""
        # Whom it trusts may have changed.
        authority = self._gateway.files.public_authority().decode()
        connection = http.client.HTTPSConnection(
            "localhost",
            self._gateway.port,
            timeout=SILENCE_S,
            context=ssl.create_default_context(cadata=authority),
        )
        body = request.SerializeToString()
        headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        try:
            connection.connect()
            self._socket = connection.sock
            framed = struct.pack(">BI", 0, len(body)) + body
            connection.request("POST", METHOD, framed, {**headers, **dict(metadata)})
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK or "grpc-status" in answer.headers:
                raise _end(answer.status, dict(answer.headers.items()))
            while True:
                kind, size = struct.unpack(">BI", _read(answer, 5))
                payload = _read(answer, size)
                if kind & TRAILERS:
                    pairs = (line.partition(":") for line in payload.decode().splitlines())
                    raise _end(
                        answer.status, {key.strip(): value.strip() for key, _, value in pairs}
                    )
                yield service.WatchTicketsResponse.FromString(payload)
        except (OSError, http.client.HTTPException) as error:
            raise StreamEnded(UNAVAILABLE, f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends the stream."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not that of TLS, which another thread is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """There is nothing left."""


def _read(answer: http.client.HTTPResponse, size: int) -> bytes:
    """So many bytes of an answer."""
    data = answer.read(size)
    if len(data) < size:
        raise ConnectionError("the answer ends in the midst of a message")
    return data


def _end(status: int, trailers: dict[str, str]) -> StreamEnded:
    """The end of a stream of gRPC-web."""
    code = int(trailers.get("grpc-status", UNAVAILABLE))
    details = trailers.get("grpc-status-details-bin", "")
    padded = details + "=" * (-len(details) % 4)
    text = f"HTTP {status}: {trailers.get('grpc-message', '')}"
    return StreamEnded(code, _reason(base64.b64decode(padded), text))


@dataclass
class Seen:
    """A state of a ticket that a view was told."""

    alert: int
    # By the clock of this process, in microseconds since 1970.
    at: int


class Watcher:
    """One view, in a thread. It opens its stream again at once when that ends as streams of a
    replica that stops do; any other end is a failure."""

    def __init__(self, calls: Calls, bot_id: int, streams: GrpcStreams | WebStreams) -> None:
        self._calls = calls
        self._streams = streams
        self._filter = service.TicketFilter(
            bot_id=bot_id,
            states=[
                ticket.TICKET_STATE_WAITING,
                ticket.TICKET_STATE_OPEN,
                ticket.TICKET_STATE_CLOSED,
            ],
        )
        # The view: the tickets that match, by id.
        self.view: dict[int, ticket.Ticket] = {}
        # How often all tickets were sent, and how often a stream went on without that.
        self.snapshots = 0
        self.resumed = 0
        # When there was no stream: from its end to the first position of the next, in microseconds.
        self.gaps: list[tuple[int, int]] = []
        # Reasons for which streams ended.
        self.ends: list[str] = []
        self._seen: dict[int, list[Seen]] = defaultdict(list)
        self._position = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        gap_since: int | None = None
        while not self._ended.is_set():
            request = service.WatchTicketsRequest(filter=self._filter, position=self._position)
            metadata = self._calls.metadata()
            try:
                for message in self._streams.open(request, metadata):
                    self._take(message)
                    if gap_since is not None and message.position:
                        self.gaps.append((gap_since, time.time_ns() // 1_000))
                        gap_since = None
                        self.resumed += 1
                    if self._ended.is_set():
                        return
            except StreamEnded as end:
                if self._ended.is_set():
                    return
                self.ends.append(str(end))
                if gap_since is None:
                    gap_since = time.time_ns() // 1_000
                if (end.code, end.reason) != (UNAVAILABLE, "SHUTTING_DOWN"):
                    self._calls.note(f"a view's stream ended: {end}")
                    self._ended.wait(1)

    def _take(self, message: service.WatchTicketsResponse) -> None:
        """Keeps the view as the protos say."""
        update = message.WhichOneof("update")
        if update == "snapshot_begin":
            self.view.clear()
            self._position = ""
            self.snapshots += 1
        elif update == "ticket":
            told = ticket.Ticket.FromString(message.ticket.SerializeToString())
            self.view[told.ticket_id] = told
            self._seen[told.ticket_id].append(Seen(told.alert, time.time_ns() // 1_000))
        elif update == "left_ticket_id":
            self.view.pop(message.left_ticket_id, None)
        self._position = message.position or self._position

    def unseen(self, shown: Iterable[Shown]) -> list[str]:
        """Alerts that the view was not told, although it had a stream while they showed."""
        return [
            f"ticket {each.ticket_id} had alert {each.alert} for {(each.until - each.since) / US} s"
            for each in shown
            if not self._was_told(each) and not self._was_away(each)
        ]

    def _was_told(self, shown: Shown) -> bool:
        return any(
            seen.alert == shown.alert and shown.since <= seen.at <= shown.until + LATE_US
            for seen in self._seen[shown.ticket_id]
        )

    def _was_away(self, shown: Shown) -> bool:
        """Whether it could not have been told: what follows fast comes as one."""
        return shown.until - shown.since < LATE_US or any(
            since <= shown.until <= until + LATE_US for since, until in self.gaps
        )

    def stop(self) -> None:
        """Ends it."""
        self._ended.set()
        self._streams.stop()
        self._thread.join()
        self._streams.close()

"""The trace of an agent's message is found from the firing, on spans that a real receiver of OTLP got."""

from __future__ import annotations

import threading
import time
import unittest
from collections.abc import Callable
from concurrent import futures
from fractions import Fraction

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from plazo.ticketing.v1 import ticket_service_pb2 as tickets

from cluster import Cluster
from conversation import Desk, policy

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
WAIT_S = 30.0
HANDLE = "/plazo.timer.v1.TicketHandlerService/HandleDueTickets"
RECORD = "/plazo.ticketing.v1.TicketService/RecordMessage"
SEND = "/plazo.notification.v1.NotificationService/SendActiveMessages"


class Receiver(otlp_grpc.TraceServiceServicer):
    """Keeps all spans."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._spans: list[Span] = []

    def Export(  # noqa: N802
        self, request: otlp.ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        with self._lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self._spans += scope.spans
            self._lock.notify_all()
        return otlp.ExportTraceServiceResponse()

    def wait_for(self, wanted: Callable[[Span], bool]) -> list[Span]:
        """The spans that are wanted, as soon as there is one."""
        give_up_at = time.monotonic() + WAIT_S
        with self._lock:
            while not (found := [span for span in self._spans if wanted(span)]):
                left = give_up_at - time.monotonic()
                if left <= 0:
                    names = sorted({span.name for span in self._spans})
                    raise AssertionError(f"no such span among {names}")
                self._lock.wait(left)
            return found


class TracedCluster(Cluster):
    """One process from `plazo up` that sends its spans."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._endpoint = endpoint

    def spawn(self, name, arguments, environment=None):  # noqa: ANN001, ANN201
        return super().spawn(name, [*arguments, "--otlp-endpoint", self._endpoint], environment)


class Traces(unittest.TestCase):
    def setUp(self) -> None:
        self.receiver = Receiver()
        server = grpc.server(futures.ThreadPoolExecutor(2))
        otlp_grpc.add_TraceServiceServicer_to_server(self.receiver, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        self.cluster = TracedCluster(f"http://127.0.0.1:{port}")
        self.cluster.start()
        self.addCleanup(self.cluster.stop)

    def test_the_firing_leads_back_to_the_message(self) -> None:
        # Alerts after 2 s and 4 s, warning after 5 s, close after 6 s.
        desk = Desk(self.cluster.addresses, 1, policy(Fraction(1, 5)))
        self.addCleanup(desk.administrator.close)
        desk.open_ticket()
        desk.agent.tickets.RecordMessage(
            tickets.RecordMessageRequest(ticket_id=desk.ticket_id, text="Bom dia"),
            metadata=(("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),),
        )
        (message,) = self.receiver.wait_for(lambda span: span.name == RECORD)
        self.assertEqual(message.trace_id.hex(), TRACE_ID)
        self.assertEqual(message.parent_span_id.hex(), PARENT_ID)

        # Each firing links to it, in a trace of its own that begins in the timer.
        def is_linked(span: Span) -> bool:
            return any(
                (link.trace_id, link.span_id) == (message.trace_id, message.span_id)
                for link in span.links
            )

        linked = self.receiver.wait_for(lambda span: span.name == HANDLE and is_linked(span))
        for handling in linked:
            self.assertNotEqual(handling.trace_id, message.trace_id)
            (firing,) = self.receiver.wait_for(lambda span: span.span_id == handling.parent_span_id)
            self.assertEqual((firing.name, firing.trace_id), ("fire", handling.trace_id))
            self.assertEqual(firing.parent_span_id, b"")
            attributes = {each.key: each.value.int_value for each in firing.attributes}
            self.assertEqual(attributes["entries"], 1)
            self.assertGreaterEqual(attributes["lateness_ms"], 0)

        # The warning reaches notification within the trace of its firing.
        (sending, *_) = self.receiver.wait_for(lambda span: span.name == SEND)
        handling = self.receiver.wait_for(
            lambda span: span.name == HANDLE and span.trace_id == sending.trace_id
        )
        self.assertTrue(any(map(is_linked, handling)))


if __name__ == "__main__":
    unittest.main()

"""People and programs that read what all services know, again and again, while everything is
replaced: reports with their CSV, active messages and accounts, what the timer has pending."""

from __future__ import annotations

import contextlib
import csv
import io
import threading
import time
import uuid
from collections.abc import Callable

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from plazo.history.v1 import history_service_pb2 as history
from plazo.history.v1 import history_service_pb2_grpc, report_service_pb2_grpc
from plazo.history.v1 import report_service_pb2 as reports
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc
from plazo.ticketing.v1 import ticket_service_pb2 as service
from plazo.ticketing.v1 import ticket_service_pb2_grpc
from plazo.timer.v1 import timer_service_pb2 as timer
from plazo.timer.v1 import timer_service_pb2_grpc

from calls import Calls
from gateway import Gateway

# Each reader pauses so long between two rounds.
PAUSE_S = 0.3
DAY_S = 86_400


class Readers:
    """Three readers, each in a thread and on a connection of its own."""

    def __init__(self, gateway: Gateway, calls: Calls, bot_id: int) -> None:
        self._calls = calls
        self._bot_id = bot_id
        self._ended = threading.Event()
        # The tickets of the last CSV, and those that others had and later ones lacked.
        self.exported: set[int] = set()
        self.gone: set[int] = set()
        # Rounds that each reader has made.
        self.rounds = {"reports": 0, "messages": 0, "timer": 0}
        self._channels = [gateway.channel() for _ in self.rounds]
        now_s = int(time.time())
        self._filter = reports.ConversationFilter(
            closed_from_time=Timestamp(seconds=now_s - DAY_S),
            closed_until_time=Timestamp(seconds=now_s + DAY_S),
        )
        reading = (self._read_reports, self._read_messages, self._read_timer)
        self._threads = [
            threading.Thread(target=self._read, args=(name, channel, read))
            for (name, channel, read) in zip(self.rounds, self._channels, reading, strict=True)
        ]

    def start(self) -> None:
        """Lets them begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends them, each after its round."""
        self._ended.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for channel in self._channels:
            channel.close()

    def _read(self, name: str, channel: grpc.Channel, read: Callable[[grpc.Channel], None]) -> None:
        while not self._ended.is_set():
            # What fails was counted.
            with contextlib.suppress(grpc.RpcError):
                read(channel)
            self.rounds[name] += 1
            self._ended.wait(PAUSE_S)

    def _read_reports(self, channel: grpc.Channel) -> None:
        stub = report_service_pb2_grpc.ReportServiceStub(channel)
        actor = self._calls.actor(plazo_permissions=["reports:view", "history:view"])
        request = reports.ListConversationsRequest(filter=self._filter, page_size=10)
        self._calls(stub.ListConversations, request, actor)
        self._calls(stub.GetReport, reports.GetReportRequest(filter=self._filter), actor)
        self.export(channel)
        closed = history_service_pb2_grpc.HistoryServiceStub(channel).ListClosedTickets
        self._calls(closed, history.ListClosedTicketsRequest(bot_id=self._bot_id), actor)

    def export(self, channel: grpc.Channel) -> None:
        """Reads all closed conversations as CSV: each once."""
        stub = report_service_pb2_grpc.ReportServiceStub(channel)
        actor = self._calls.actor(plazo_permissions=["reports:view"])
        request = reports.ExportConversationsRequest(filter=self._filter)
        chunks = self._calls(stub.ExportConversations, request, actor)
        text = b"".join(chunk.csv for chunk in chunks).decode()
        rows = [int(row["ticket_id"]) for row in csv.DictReader(io.StringIO(text))]
        if len(rows) != len(set(rows)) or chunks[-1].conversation_count != len(rows):
            self._calls.note(f"a CSV of {chunks[-1].conversation_count} tickets has {sorted(rows)}")
        self.gone |= self.exported - set(rows)
        self.exported = set(rows)

    def _read_messages(self, channel: grpc.Channel) -> None:
        stub = notification_service_pb2_grpc.NotificationServiceStub(channel)
        actor = self._calls.actor(plazo_permissions=["messages:send"])
        listed = self._calls(
            stub.ListActiveMessages, notification.ListActiveMessagesRequest(page_size=20), actor
        )
        for each in listed.messages[:2]:
            request = notification.GetActiveMessageRequest(message_id=each.message_id)
            self._calls(stub.GetActiveMessage, request, actor)
        accounts = notification_service_pb2_grpc.ChannelAccountServiceStub(channel)
        actor = self._calls.actor()
        found = self._calls(
            accounts.ListChannelAccounts, notification.ListChannelAccountsRequest(), actor
        )
        (account,) = found.accounts
        change = notification.UpdateChannelAccountRequest(
            account=notification.ChannelAccount(
                channel_account_id=account.channel_account_id,
                etag=account.etag,
                name=f"number {uuid.uuid4()}",
            ),
            update_mask=FieldMask(paths=["name"]),
            request_id=str(uuid.uuid4()),
        )
        # Twice the same request is one change; nobody else changes the account.
        first, again = (self._calls(accounts.UpdateChannelAccount, change, actor) for _ in range(2))
        if first != again or first.account.name != change.account.name:
            self._calls.note(f"a change of an account was answered {first} and {again}")

    def _read_timer(self, channel: grpc.Channel) -> None:
        stub = timer_service_pb2_grpc.TimerServiceStub(channel)
        tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        actor = self._calls.actor()
        self._calls(stub.ListDueEntries, timer.ListDueEntriesRequest(), actor)
        given_up = self._calls(
            stub.ListQuarantinedEntries, timer.ListQuarantinedEntriesRequest(), actor
        ).entries
        if given_up:
            self._calls.note(f"the timer has given up {given_up}")
        listed = self._calls(tickets.ListTickets, service.ListTicketsRequest(page_size=2), actor)
        for each in listed.tickets:
            request = timer.GetTicketEntriesRequest(ticket_id=each.ticket_id)
            self._calls(stub.GetTicketEntries, request, actor)
            explain = service.ExplainTicketRequest(ticket_id=each.ticket_id)
            self._calls(tickets.ExplainTicket, explain, actor)

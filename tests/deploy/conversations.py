"""A load of conversations through the gateway: agents write, customers answer or don't, and agents
look up in the history what was closed, and write to the customer again."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from plazo.common.v1 import common_pb2 as common
from plazo.history.v1 import history_service_pb2 as history
from plazo.history.v1 import history_service_pb2_grpc, outreach_service_pb2_grpc
from plazo.history.v1 import outreach_service_pb2 as outreach
from plazo.history.v1 import settings_service_pb2 as history_settings
from plazo.history.v1 import settings_service_pb2_grpc as history_settings_pb2_grpc
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc
from plazo.ticketing.v1 import (
    contact_pb2,
    contact_pb2_grpc,
    settings_pb2_grpc,
    ticket_service_pb2_grpc,
)
from plazo.ticketing.v1 import event_pb2 as event
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as service

from calls import Calls
from gateway import Gateway, wait_for
from ledger import STAGES, Conversation, Verdict, judge, judge_messages
from provider import Provider, is_settled

AGENTS = 4
# Each agent begins a conversation so often.
INTERVAL_S = 0.5
# What is written after the agent's first message: by whom, and how many seconds after it. A stage
# that is lost shows when nobody ends its cycle before it had to fire: that must be more cycles than
# are ended before, at each stage, and those that are must be ended well before it or well after it.
COURSES: tuple[tuple[tuple[str, float], ...], ...] = (
    (),
    (("customer", 1.5),),
    (("customer", 4.6), ("agent", 5.4)),
    (),
    (("customer", 7.6),),
    (("agent", 5.0),),
    (("customer", 10.6), ("agent", 11.2)),
)
# When the agent looks up a conversation in which nobody answered, after his message: soon after it
# was closed. What history does not show yet he looks for again, for so long.
LOOK_UP_S = STAGES[ticket.STAGE_CLOSE] + 1.0
LOOK_AGAIN_S = 0.5
SHOWN_WITHIN_S = 10.0
# When he looks what became of the message that he sent then.
LOOK_AFTER_S = 1.0
# Until messages are at the provider, and notification knows.
SETTLED_WITHIN_S = 20.0
# When, which of those of one instant, whether it is done when no more shall be begun, and what.
Action = tuple[float, int, bool, Callable[[], None]]


def _seconds(value: int) -> common.TimeValue:
    return common.TimeValue(value=value, unit=common.TIME_UNIT_SECOND)


@dataclass(frozen=True)
class LookUp:
    """A conversation that an agent looks up in the history: whose it is by his number, and the word
    by which he finds its customer."""

    index: int
    agent: int
    contact_id: int
    ticket_id: int
    word: str
    # When it must show, by the monotonic clock.
    again_until: float


class Desk:
    """A tenant with agents who talk to customers."""

    def __init__(self, gateway: Gateway, calls: Calls, provider: Provider) -> None:
        self.calls = calls
        self.conversations: list[Conversation] = []
        # Active messages that agents sent.
        self.outreach_count = 0
        self._provider = provider
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._channels = [gateway.channel() for _ in range(AGENTS)]
        self.bot_id = self._create_bot(provider.create_account(gateway, calls))
        self._agents = self._create_agents()
        self._open_history()

    def _create_bot(self, account_id: int) -> int:
        stub = settings_pb2_grpc.SettingsServiceStub(self._channels[0])
        actor = self.calls.actor()
        bot = settings.Bot(name="Suporte", channel_account_id=account_id)
        request = settings.CreateBotRequest(bot=bot)
        bot_id = int(self.calls(stub.CreateBot, request, actor).bot.bot_id)
        self.calls(
            stub.SetExitRoute,
            settings.SetExitRouteRequest(bot_id=bot_id, exit_route="silence"),
            actor,
        )
        first, second, warning, close = map(_seconds, STAGES.values())
        policy = settings.InactivityPolicy(
            alerts=settings.AlertSettings(first_alert=first, second_alert=second),
            warning=settings.WarningSettings(
                warn_after=warning, text="{{contact_name}}, {{time_left}}"
            ),
            auto_close=settings.AutoCloseSettings(close_after=close),
        )
        self.calls(
            stub.SetInactivityPolicy,
            settings.SetInactivityPolicyRequest(bot_id=bot_id, policy=policy),
            actor,
        )
        return bot_id

    def _create_agents(self) -> list[int]:
        stub = settings_pb2_grpc.SettingsServiceStub(self._channels[0])
        return [
            self.calls(
                stub.CreateAgent,
                settings.CreateAgentRequest(
                    agent=settings.Agent(name=f"Ana {index}", bot_ids=[self.bot_id])
                ),
                self.calls.actor(),
            ).agent.agent_id
            for index in range(AGENTS)
        ]

    def _open_history(self) -> None:
        """Lets all agents look up what was closed, at once."""
        stub = history_settings_pb2_grpc.HistorySettingsServiceStub(self._channels[0])
        actor = self.calls.actor()
        self.calls(
            stub.SetBotHistory,
            history_settings.SetBotHistoryRequest(bot_id=self.bot_id, enabled=True),
            actor,
        )
        self.calls(
            stub.SetAgentAccess,
            history_settings.SetAgentAccessRequest(agent_ids=self._agents, granted=True),
            actor,
        )
        self.calls(
            stub.UpdateHistorySettings,
            history_settings.UpdateHistorySettingsRequest(
                settings=history_settings.HistorySettings(show_delay=Duration(seconds=0)),
                update_mask=FieldMask(paths=["show_delay"]),
            ),
            actor,
        )

    def _as_agent(self, agent: int) -> dict[str, Any]:
        return self.calls.actor(
            plazo_actor=f"agent/{agent}",
            plazo_permissions=["tickets:attend", "history:view", "messages:send"],
            plazo_bots=[self.bot_id],
        )

    def start(self, at_most: int | None = None) -> None:
        """Lets all agents begin conversations, each at most so many; then nobody looks up any."""
        self._ended.clear()
        self._threads = [
            threading.Thread(target=self._attend, args=(index, at_most)) for index in range(AGENTS)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Begins no more, and plays to the end what was begun."""
        self._ended.set()
        self.join()

    def join(self) -> None:
        """Waits until all have played what they began."""
        for thread in self._threads:
            thread.join()

    def _attend(self, index: int, at_most: int | None) -> None:
        later: list[Action] = []
        begin_at = time.monotonic()
        begun = 0
        while True:
            may_begin = not self._ended.is_set() and (at_most is None or begun < at_most)
            if at_most is not None or self._ended.is_set():
                later = [each for each in later if each[2]]
                heapq.heapify(later)
            if not may_begin and not later:
                return
            next_at = min(([begin_at] if may_begin else []) + ([later[0][0]] if later else []))
            if (left := next_at - time.monotonic()) > 0:
                # Ends earlier when there shall be no more; what was begun goes on.
                if may_begin:
                    self._ended.wait(left)
                else:
                    time.sleep(left)
                continue
            try:
                # On a machine that falls behind what was begun comes first, and less is begun.
                if later and later[0][0] <= time.monotonic():
                    heapq.heappop(later)[3]()
                else:
                    begin_at = time.monotonic() + INTERVAL_S
                    begun += 1
                    self._begin(index, later, COURSES[(begun + index) % len(COURSES)])
            except grpc.RpcError:
                # It was counted.
                pass

    def _begin(
        self, index: int, later: list[Action], course: tuple[tuple[str, float], ...]
    ) -> None:
        channel = self._channels[index]
        agent = self._agents[index]
        number = next(self._numbers)
        address = common.ChannelIdentity(
            channel=common.CHANNEL_WHATSAPP, address=f"+5511987{number:06}"
        )
        word = uuid.uuid4().hex[:12]
        contact = self.calls(
            contact_pb2_grpc.ContactServiceStub(channel).CreateContact,
            contact_pb2.CreateContactRequest(
                contact=contact_pb2.Contact(name=f"João {word}", channel_identity=address),
                request_id=str(uuid.uuid4()),
            ),
            self.calls.actor(),
        ).contact
        tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        opened = self.calls(
            tickets.OpenTicket,
            service.OpenTicketRequest(
                bot_id=self.bot_id,
                contact_id=contact.contact_id,
                agent_id=agent,
                request_id=str(uuid.uuid4()),
            ),
            self._as_agent(agent),
        ).ticket
        last = course[-1][0] if course else "agent"
        conversation = Conversation(opened.ticket_id, is_answered=last == "customer")
        with self._lock:
            self.conversations.append(conversation)

        def write(who: str) -> None:
            text = f"Olá {uuid.uuid4()}"
            if who == "customer" and conversation.is_answered:
                # By the channel, which does not say when it is recorded.
                conversation.texts.append(text)
                self._provider.customer_writes(address.address, text)
                return
            request = service.RecordMessageRequest(
                ticket_id=opened.ticket_id, text=text, request_id=str(uuid.uuid4())
            )
            actor = self._as_agent(agent)
            if who == "customer":
                request.author.CopyFrom(
                    common.Author(kind=common.AUTHOR_KIND_CUSTOMER, id=contact.contact_id)
                )
                actor = self.calls.actor()
            recorded = self.calls(tickets.RecordMessage, request, actor)
            conversation.messages.append(recorded.message.message_id)

        write("agent")
        now = time.monotonic()
        for who, after_s in course:
            self._do_at(later, now + after_s, True, lambda who=who: write(who))
        if not course:
            again_until = now + LOOK_UP_S + SHOWN_WITHIN_S
            look_up = LookUp(index, agent, contact.contact_id, opened.ticket_id, word, again_until)
            self._do_at(later, now + LOOK_UP_S, False, lambda: self._look_up(look_up, later))

    def _do_at(
        self, later: list[Action], at: float, always: bool, what: Callable[[], None]
    ) -> None:
        heapq.heappush(later, (at, next(self._numbers), always, what))

    def _look_up(self, look_up: LookUp, later: list[Action]) -> None:
        """The agent reads the conversation in the history, and writes to the customer."""
        stub = history_service_pb2_grpc.HistoryServiceStub(self._channels[look_up.index])
        actor = self._as_agent(look_up.agent)
        search = history.SearchContactsRequest(query=look_up.word)
        found = self.calls(stub.SearchContacts, search, actor).contacts
        if not found:
            if time.monotonic() < look_up.again_until:
                self._do_at(
                    later,
                    time.monotonic() + LOOK_AGAIN_S,
                    False,
                    lambda: self._look_up(look_up, later),
                )
            else:
                self.calls.note(f"history does not show ticket {look_up.ticket_id}")
            return
        contact_id, ticket_id = look_up.contact_id, look_up.ticket_id
        listed = self.calls(
            stub.ListContactTickets,
            history.ListContactTicketsRequest(contact_id=contact_id),
            actor,
        ).tickets
        shown = ([each.contact.contact_id for each in found], [each.ticket_id for each in listed])
        if shown != ([contact_id], [ticket_id]):
            self.calls.note(f"history shows {shown} for ticket {ticket_id}")
        of_ticket = history.GetTicketHistoryRequest(ticket_id=ticket_id)
        self.calls(stub.GetTicketHistory, of_ticket, actor)
        conversation = history.ListConversationRequest(ticket_id=ticket_id)
        self.calls(stub.ListConversation, conversation, actor)
        of_contact = history.GetContactHistoryRequest(contact_id=contact_id)
        self.calls(stub.GetContactHistory, of_contact, actor)
        self._send(look_up, later)

    def _send(self, look_up: LookUp, later: list[Action]) -> None:
        """Sends an active message, twice under one request id: it goes into a new ticket, once."""
        stub = outreach_service_pb2_grpc.OutreachServiceStub(self._channels[look_up.index])
        text = f"Ainda está aí? {uuid.uuid4()}"
        request = outreach.SendActiveMessageRequest(
            contact_id=look_up.contact_id,
            ticket_id=look_up.ticket_id,
            text=text,
            request_id=str(uuid.uuid4()),
        )
        first = self.calls(stub.SendActiveMessage, request, self._as_agent(look_up.agent))
        sent = Conversation(
            first.ticket_id,
            is_answered=False,
            texts=[text],
            outreach=[first.idempotency_key],
        )
        with self._lock:
            self.conversations.append(sent)
            self.outreach_count += 1
        again = self.calls(stub.SendActiveMessage, request, self._as_agent(look_up.agent))
        if again != first or not first.opened:
            self.calls.note(f"an active message was answered {first} and {again}")
        self._do_at(
            later,
            time.monotonic() + LOOK_AFTER_S,
            False,
            lambda: self._read_message(look_up, first.ticket_id),
        )

    def _read_message(self, look_up: LookUp, ticket_id: int) -> None:
        """Looks what became of the active message in a ticket."""
        stub = notification_service_pb2_grpc.NotificationServiceStub(self._channels[look_up.index])
        actor = self._as_agent(look_up.agent)
        request = notification.ListActiveMessagesRequest(ticket_id=ticket_id)
        for each in self.calls(stub.ListActiveMessages, request, actor).messages:
            one = notification.GetActiveMessageRequest(message_id=each.message_id)
            self.calls(stub.GetActiveMessage, one, actor)

    def _events(self, conversation: Conversation) -> list[event.TicketEvent]:
        tickets = ticket_service_pb2_grpc.TicketServiceStub(
            self._channels[conversation.ticket_id % AGENTS]
        )
        request = service.ListTicketEventsRequest(ticket_id=conversation.ticket_id, page_size=100)
        found: list[event.TicketEvent] = []
        while True:
            answer = self.calls(tickets.ListTicketEvents, request, self.calls.actor())
            found += answer.events
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def _is_over(self, conversation: Conversation) -> bool:
        if not conversation.is_over:
            kinds = [each.WhichOneof("payload") for each in self._events(conversation)][::-1]
            since = kinds.index("message_recorded")
            recorded = kinds.count("message_recorded")
            conversation.is_over = (
                recorded >= len(conversation.messages) + len(conversation.texts)
                if conversation.is_answered
                else "closed" in kinds[:since]
            )
        return conversation.is_over

    def _accepted(self) -> list[notification.AcceptedMessage]:
        """All active messages of the tenant."""
        stub = notification_service_pb2_grpc.NotificationServiceStub(self._channels[0])
        actor = self.calls.actor(plazo_permissions=["messages:send"])
        request = notification.ListActiveMessagesRequest(page_size=500)
        found: list[notification.AcceptedMessage] = []
        while True:
            answer = self.calls(stub.ListActiveMessages, request, actor)
            found += answer.messages
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def wait_until_quiet(self, late_s: float) -> None:
        """Waits until each conversation was answered or closed, and each active message is at the
        provider."""
        with ThreadPoolExecutor(AGENTS) as pool:
            wait_for(
                "tickets are answered or closed",
                lambda: all(pool.map(self._is_over, self.conversations)),
                STAGES[ticket.STAGE_CLOSE] + late_s,
            )
        wait_for(
            "messages are at the provider",
            lambda: all(map(is_settled, self._accepted())),
            SETTLED_WITHIN_S,
        )

    def judge(self, late_s: float) -> Verdict:
        """Follows each ticket from its first event to its last, and each active message to the
        provider. `late_s` is how late a stage may be."""
        verdict = Verdict()
        with ThreadPoolExecutor(AGENTS) as pool:
            for conversation, events in zip(
                self.conversations, pool.map(self._events, self.conversations), strict=True
            ):
                judge(conversation, events, late_s, verdict)
        verdict.problems += judge_messages(verdict.requested, self._accepted(), self._provider.sent)
        verdict.problems += self._provider.refused
        return verdict

    def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels:
            channel.close()

"""A load of conversations through the gateway, and the ledger that judges them afterwards by the
events that were kept."""

from __future__ import annotations

import collections
import heapq
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from plazo.common.v1 import common_pb2 as common
from plazo.ticketing.v1 import contact_pb2, contact_pb2_grpc
from plazo.ticketing.v1 import event_pb2 as event
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import settings_pb2_grpc
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as service
from plazo.ticketing.v1 import ticket_service_pb2_grpc

from gateway import Gateway, wait_for
from tokens import Issuer, bearer

AGENTS = 4
CALL_TIMEOUT_S = 10.0
# Each agent begins a conversation so often.
INTERVAL_S = 0.5
# When each stage is due after the agent's message, in seconds.
STAGES = {
    ticket.STAGE_FIRST_ALERT: 3,
    ticket.STAGE_SECOND_ALERT: 6,
    ticket.STAGE_WARNING: 9,
    ticket.STAGE_CLOSE: 12,
}
# What is written after the agent's first message: by whom, and how many seconds after it.
COURSES: tuple[tuple[tuple[str, float], ...], ...] = (
    (),
    (("customer", 1.5),),
    (("customer", 5.5), ("agent", 6.5)),
    (("agent", 5.5),),
)
US = 1_000_000
Action = tuple[float, int, Callable[[], None]]


def _us(instant: Timestamp) -> int:
    return int(instant.ToMicroseconds())


def _seconds(value: int) -> common.TimeValue:
    return common.TimeValue(value=value, unit=common.TIME_UNIT_SECOND)


@dataclass
class Conversation:
    """One ticket, with what was acknowledged."""

    ticket_id: int
    is_answered: bool
    messages: list[int] = field(default_factory=list)
    is_over: bool = False


@dataclass
class Verdict:
    """What became of the conversations."""

    problems: list[str] = field(default_factory=list)
    fired: collections.Counter[int] = field(default_factory=collections.Counter)
    passed_over: int = 0
    lateness_s: list[float] = field(default_factory=list)


class Desk:
    """A tenant with agents who talk to customers. Nobody repeats a call: each failure counts."""

    def __init__(self, gateway: Gateway, issuer: Issuer, tenant: int) -> None:
        self.issuer = issuer
        self.tenant = tenant
        self.outcomes: collections.Counter[str] = collections.Counter()
        # The most that any call took, in seconds.
        self.slowest_s = 0.0
        self.conversations: list[Conversation] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._channels = [gateway.channel() for _ in range(AGENTS)]
        calls = settings_pb2_grpc.SettingsServiceStub(self._channels[0])
        self._bot = calls.CreateBot(
            settings.CreateBotRequest(bot=settings.Bot(name="Suporte")), **self._signed()
        ).bot.bot_id
        calls.SetExitRoute(
            settings.SetExitRouteRequest(bot_id=self._bot, exit_route="silence"), **self._signed()
        )
        first, second, warning, close = map(_seconds, STAGES.values())
        calls.SetInactivityPolicy(
            settings.SetInactivityPolicyRequest(
                bot_id=self._bot,
                policy=settings.InactivityPolicy(
                    alerts=settings.AlertSettings(first_alert=first, second_alert=second),
                    warning=settings.WarningSettings(warn_after=warning, text="{{time_left}}"),
                    auto_close=settings.AutoCloseSettings(close_after=close),
                ),
            ),
            **self._signed(),
        )
        self._agents = [
            calls.CreateAgent(
                settings.CreateAgentRequest(
                    agent=settings.Agent(name=f"Ana {index}", bot_ids=[self._bot])
                ),
                **self._signed(),
            ).agent.agent_id
            for index in range(AGENTS)
        ]

    def _signed(self, **claims: Any) -> dict[str, Any]:
        token = self.issuer.token(plazo_tenant=self.tenant, **claims)
        return {"metadata": bearer(token), "timeout": CALL_TIMEOUT_S}

    def _as_agent(self, agent: int) -> dict[str, Any]:
        return self._signed(
            plazo_actor=f"agent/{agent}",
            plazo_permissions=["tickets:attend"],
            plazo_bots=[self._bot],
        )

    def start(self, at_most: int | None = None) -> None:
        """Lets all agents begin conversations, each at most so many."""
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
            if not may_begin and not later:
                return
            next_at = min(
                ([begin_at] if may_begin else []) + ([later[0][0]] if later else [])
            )
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
                    heapq.heappop(later)[2]()
                else:
                    begin_at = time.monotonic() + INTERVAL_S
                    begun += 1
                    self._begin(index, later, COURSES[(begun + index) % len(COURSES)])
            except grpc.RpcError as error:
                with self._lock:
                    self.outcomes[f"{error.code().name}: {error.details()}"] += 1

    def _call(self, call: Callable[..., Any], request: Any, signed: dict[str, Any]) -> Any:
        started = time.monotonic()
        answer = call(request, **signed)
        with self._lock:
            self.outcomes["OK"] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        return answer

    def _begin(
        self, index: int, later: list[Action], course: tuple[tuple[str, float], ...]
    ) -> None:
        channel = self._channels[index]
        agent = self._agents[index]
        address = common.ChannelIdentity(channel=common.CHANNEL_LOG, address=str(uuid.uuid4()))
        contact = self._call(
            contact_pb2_grpc.ContactServiceStub(channel).CreateContact,
            contact_pb2.CreateContactRequest(
                contact=contact_pb2.Contact(name="João", channel_identity=address),
                request_id=str(uuid.uuid4()),
            ),
            self._signed(),
        ).contact
        tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        opened = self._call(
            tickets.OpenTicket,
            service.OpenTicketRequest(
                bot_id=self._bot,
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
            request = service.RecordMessageRequest(
                ticket_id=opened.ticket_id, text="Olá", request_id=str(uuid.uuid4())
            )
            signed = self._as_agent(agent)
            if who == "customer":
                request.author.CopyFrom(
                    common.Author(kind=common.AUTHOR_KIND_CUSTOMER, id=contact.contact_id)
                )
                signed = self._signed()
            recorded = self._call(tickets.RecordMessage, request, signed)
            conversation.messages.append(recorded.message.message_id)

        write("agent")
        now = time.monotonic()
        for number, (who, after_s) in enumerate(course):
            heapq.heappush(
                later,
                (now + after_s, opened.ticket_id * 10 + number, lambda who=who: write(who)),
            )

    def _events(self, conversation: Conversation) -> list[event.TicketEvent]:
        tickets = ticket_service_pb2_grpc.TicketServiceStub(
            self._channels[conversation.ticket_id % AGENTS]
        )
        request = service.ListTicketEventsRequest(
            ticket_id=conversation.ticket_id, page_size=100
        )
        found: list[event.TicketEvent] = []
        while True:
            answer = tickets.ListTicketEvents(request, **self._signed())
            found += answer.events
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def _is_over(self, conversation: Conversation) -> bool:
        if not conversation.is_over:
            kinds = [each.WhichOneof("payload") for each in self._events(conversation)]
            since = kinds[::-1].index("message_recorded")
            conversation.is_over = conversation.is_answered or "closed" in kinds[::-1][:since]
        return conversation.is_over

    def wait_until_quiet(self, late_s: float) -> None:
        """Waits until each conversation that nobody answered was closed."""
        with ThreadPoolExecutor(AGENTS) as pool:
            wait_for(
                "tickets are closed",
                lambda: all(pool.map(self._is_over, self.conversations)),
                STAGES[ticket.STAGE_CLOSE] + late_s,
            )

    def judge(self, late_s: float) -> Verdict:
        """Follows each ticket from its first event to its last. `late_s` is how late a stage may
        be."""
        verdict = Verdict()
        with ThreadPoolExecutor(AGENTS) as pool:
            for conversation, events in zip(
                self.conversations, pool.map(self._events, self.conversations), strict=True
            ):
                problems = list(_judge(conversation, events, late_s, verdict))
                if problems:
                    verdict.problems.append(
                        f"ticket {conversation.ticket_id}: {problems}; {_told(events)}"
                    )
        return verdict

    def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels:
            channel.close()


def _told(events: list[event.TicketEvent]) -> str:
    """The events of a ticket in short: what, and how many seconds after the first."""
    began = _us(events[0].event_time) if events else 0
    return ", ".join(
        f"{each.WhichOneof('payload')} {(_us(each.event_time) - began) / US:.3f}"
        for each in events
    )


@dataclass
class _Cycle:
    anchor: int
    # When somebody wrote who ends it.
    end: int | None = None
    fired: dict[int, int] = field(default_factory=dict)


def _judge(
    conversation: Conversation, events: list[event.TicketEvent], late_s: float, verdict: Verdict
) -> Iterator[str]:
    """The problems of one ticket."""
    cycles: dict[int, _Cycle] = {}
    counted: collections.Counter[str] = collections.Counter()
    messages = []
    for each in events:
        what = str(each.WhichOneof("payload"))
        counted[what] += 1
        at = _us(each.event_time)
        if what == "message_recorded":
            messages.append(each.message_recorded.message.message_id)
            by_customer = each.author.kind == common.AUTHOR_KIND_CUSTOMER
            if by_customer or each.message_recorded.cycles:
                for cycle in cycles.values():
                    cycle.end = cycle.end or at
            for start in each.message_recorded.cycles:
                cycles[start.cycle] = _Cycle(_us(start.anchor_time))
        elif what == "stage_fired":
            fired = each.stage_fired
            yield from _fire(cycles.get(fired.cycle), fired, at, late_s, verdict)
    for number, cycle in cycles.items():
        yield from _missing(number, cycle, late_s, verdict)
    if [each.ticket_seq for each in events] != sorted({each.ticket_seq for each in events}):
        yield "its events are not in order, each once"
    if sorted(messages) != sorted(conversation.messages):
        yield f"acknowledged {conversation.messages}, kept {messages}"
    stages = [stage for cycle in cycles.values() for stage in cycle.fired]
    expected = {
        "opened": 1,
        # More than once where somebody wrote after it, which opens the ticket again.
        "closed": stages.count(ticket.STAGE_CLOSE),
        "active_message_requested": stages.count(ticket.STAGE_WARNING),
    }
    for what, count in expected.items():
        if counted[what] != count:
            yield f"{counted[what]} times {what} instead of {count}"


def _fire(
    cycle: _Cycle | None, fired: event.StageFired, at: int, late_s: float, verdict: Verdict
) -> Iterator[str]:
    name = f"{ticket.Stage.Name(fired.stage)} of cycle {fired.cycle}"
    if cycle is None or cycle.end is not None:
        yield f"{name} fired after its cycle"
        return
    if fired.stage in cycle.fired:
        yield f"{name} fired twice"
    cycle.fired[fired.stage] = at
    verdict.fired[fired.stage] += 1
    due = cycle.anchor + STAGES[fired.stage] * US
    told = _us(fired.due_time)
    # Deadlines are whole milliseconds, and never before the exact instant. The close moves when its
    # warning was late; no other stage ever does.
    if told < due or (told - due >= 1_000 and fired.stage != ticket.STAGE_CLOSE):
        yield f"{name} was due {(told - due) / US} s from where it should be"
    if at < max(due, told):
        yield f"{name} fired {(max(due, told) - at) / US} s early"
    late = (at - told) / US
    verdict.lateness_s.append(late)
    if late > late_s:
        yield f"{name} fired {late} s late"


def _missing(
    number: int, cycle: _Cycle, late_s: float, verdict: Verdict
) -> Iterator[str]:
    """Stages of a cycle that were due before its end and did not fire."""
    for stage, after_s in STAGES.items():
        due = cycle.anchor + after_s * US
        if stage in cycle.fired:
            continue
        name = f"{ticket.Stage.Name(stage)} of cycle {number}"
        following = min((STAGES[other] for other in cycle.fired if other > stage), default=None)
        if following is not None and stage != ticket.STAGE_WARNING:
            # Both were due when it was looked at, and the higher one acts alone. So it was as late
            # as they are apart.
            verdict.passed_over += 1
            if following - after_s > late_s:
                yield f"{name} was passed over, which is too late"
        elif cycle.end is None or following is not None:
            yield f"{name} never fired"
        elif cycle.end - due > late_s * US:
            yield f"{name} had not fired after {(cycle.end - due) / US} s"

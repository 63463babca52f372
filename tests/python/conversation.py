"""Conversations that are played in real time, and what a cluster made of them.

Instants are given as in the product's tables: in seconds from the agent's first message, for alerts
at 10 and 20, a warning at 25 and a close at 30. A conversation is played with all of them made
shorter by one factor, such that the settings are whole seconds still.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from plazo.common.v1 import common_pb2 as common
from plazo.history.v1 import history_service_pb2 as history
from plazo.history.v1 import settings_service_pb2 as history_settings
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.ticketing.v1 import contact_pb2 as contact
from plazo.ticketing.v1 import event_pb2 as event
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as ticket_service
from plazo.timer.v1 import timer_service_pb2 as timer

from plazo_client import Actor, Addresses, Client, now_us, pages, to_us

EXIT_ROUTE = "after-silence"
EXCLUDED_TAG = "vip"
CLOSING_TAG = "silent"
CLOSING_NOTE = ticket.ClosingNote(category="silence", summary="the customer did not answer")
WARNING_TEXT = "{{contact_name}}, we close in {{time_left}}"
CLOSING_TEXT = "Goodbye, {{contact_name}}"
CUSTOMER = "Ana"
HISTORY_TIMEOUT_S = 5.0

ADMINISTRATOR_PERMISSIONS = (
    "helpdesk:view",
    "helpdesk:edit",
    "builder:edit",
    "tickets:attend",
    "history:view",
    "messages:send",
)


class TooSlow(Exception):
    """A step came later than the conversation has it, so what followed tells nothing."""


def policy(
    seconds: Fraction,
    times: int = 1,
    anchor: settings.Anchor.ValueType = settings.ANCHOR_LAST_MESSAGE,
) -> settings.InactivityPolicy:
    """The tables' policy: alerts 10/20, warning 25, close 30, each `times` as long. `seconds` is
    the real length of one second of the tables."""

    def after(units: int) -> common.TimeValue:
        value = units * times * seconds
        assert value.denominator == 1, f"{value} s are not whole seconds"
        return common.TimeValue(value=int(value), unit=common.TIME_UNIT_SECOND)

    return settings.InactivityPolicy(
        anchor=anchor,
        alerts=settings.AlertSettings(first_alert=after(10), second_alert=after(20)),
        warning=settings.WarningSettings(warn_after=after(25), text=WARNING_TEXT),
        auto_close=settings.AutoCloseSettings(
            close_after=after(30),
            tags=[CLOSING_TAG],
            note=CLOSING_NOTE,
            closing_text=CLOSING_TEXT,
            exclude_tags=[EXCLUDED_TAG],
        ),
    )


class Desk:
    """A tenant with a bot, its policy, an agent and a customer, and one ticket between them."""

    def __init__(
        self, addresses: Addresses, tenant_id: int, inactivity: settings.InactivityPolicy
    ) -> None:
        administrator = Actor(tenant_id, "administrator", 1, ADMINISTRATOR_PERMISSIONS)
        self.tenant_id = tenant_id
        self.administrator = Client(addresses, administrator)
        self.bot_id = self._create_bot()
        self.set_policy(inactivity)
        self.queue_id = self._create_queue()
        self.agent_id = self._create_agent()
        self.contact_id = self._create_contact()
        attend = ("tickets:attend",)
        self.agent = self.administrator.acting_as(
            Actor(tenant_id, "agent", self.agent_id, attend, (self.bot_id,))
        )
        # The bot passes on what customer and system write.
        self.bot = self.administrator.acting_as(
            Actor(tenant_id, "bot", self.bot_id, attend, (self.bot_id,))
        )
        self.ticket_id = 0

    def _create_bot(self) -> int:
        request = settings.CreateBotRequest(bot=settings.Bot(name="Desk"))
        bot_id = self.administrator.settings.CreateBot(request).bot.bot_id
        self.administrator.settings.SetExitRoute(
            settings.SetExitRouteRequest(bot_id=bot_id, exit_route=EXIT_ROUTE)
        )
        return bot_id

    def _create_queue(self) -> int:
        request = settings.CreateQueueRequest(
            queue=settings.Queue(bot_id=self.bot_id, name="Second line")
        )
        return self.administrator.settings.CreateQueue(request).queue.queue_id

    def _create_agent(self) -> int:
        agent = settings.Agent(name="Bruno", bot_ids=[self.bot_id])
        request = settings.CreateAgentRequest(agent=agent)
        return self.administrator.settings.CreateAgent(request).agent.agent_id

    def _create_contact(self) -> int:
        identity = common.ChannelIdentity(
            channel=common.CHANNEL_LOG, address=f"customer-{self.tenant_id}"
        )
        customer = contact.Contact(name=CUSTOMER, channel_identity=identity)
        request = contact.CreateContactRequest(contact=customer)
        return self.administrator.contacts.CreateContact(request).contact.contact_id

    def set_policy(self, inactivity: settings.InactivityPolicy, applies: bool = False) -> None:
        """Puts a policy in force for new cycles and, if it applies to open tickets, for those that
        run."""
        self.administrator.settings.SetInactivityPolicy(
            settings.SetInactivityPolicyRequest(
                bot_id=self.bot_id, policy=inactivity, apply_to_open_tickets=applies
            )
        )

    def open_ticket(self) -> None:
        """Opens the ticket, with the agent assigned."""
        request = ticket_service.OpenTicketRequest(
            bot_id=self.bot_id, contact_id=self.contact_id, agent_id=self.agent_id
        )
        self.ticket_id = self.bot.tickets.OpenTicket(request).ticket.ticket_id

    def writes(self, who: str) -> int:
        """Records a message of the agent, the customer or the system, or a note of the agent, and
        returns when it was recorded, in microseconds."""
        request = ticket_service.RecordMessageRequest(ticket_id=self.ticket_id, text=f"from {who}")
        client = self.bot
        if who == "agent":
            client = self.agent
        elif who == "note":
            client = self.agent
            request.kind = ticket.MESSAGE_KIND_NOTE
        elif who == "customer":
            request.author.kind = common.AUTHOR_KIND_CUSTOMER
        else:
            request.author.kind = common.AUTHOR_KIND_SYSTEM
        answer = client.tickets.RecordMessage(request)
        if answer.message.ticket_id != self.ticket_id:
            raise AssertionError(f"the message went to ticket {answer.message.ticket_id}")
        return to_us(answer.message.record_time)

    def does(self, what: str) -> None:
        """The agent does something else with the ticket: hold, resume, transfer, add-tag or
        remove-tag."""
        tickets, ticket_id = self.agent.tickets, self.ticket_id
        if what == "hold":
            request = ticket_service.HoldTicketRequest(ticket_id=ticket_id, reason="a check")
            tickets.HoldTicket(request)
        elif what == "resume":
            tickets.ResumeTicket(ticket_service.ResumeTicketRequest(ticket_id=ticket_id))
        elif what == "transfer":
            tickets.TransferTicket(
                ticket_service.TransferTicketRequest(ticket_id=ticket_id, queue_id=self.queue_id)
            )
        else:
            tag = ticket_service.TagTicketsRequest(ticket_ids=[ticket_id])
            (tag.add_tags if what == "add-tag" else tag.remove_tags).append(EXCLUDED_TAG)
            (result,) = tickets.TagTickets(tag).results
            if not result.HasField("ticket"):
                raise AssertionError(f"the tag was refused: {result}")

    def read_ticket(self) -> ticket.Ticket:
        """The ticket as it is now."""
        request = ticket_service.GetTicketRequest(ticket_id=self.ticket_id)
        return self.agent.tickets.GetTicket(request).ticket

    def wait_for(
        self, what: str, is_there: Callable[[ticket.Ticket], bool], timeout_s: float
    ) -> None:
        """Waits until the ticket is as it should be."""
        give_up_at = time.monotonic() + timeout_s
        while not is_there(now := self.read_ticket()):
            if time.monotonic() > give_up_at:
                raise AssertionError(f"no {what} after {timeout_s:.1f} s:\n{now}")
            time.sleep(0.05)

    def events(self) -> list[event.TicketEvent]:
        """What happened to the ticket, in order."""
        request = ticket_service.ListTicketEventsRequest(ticket_id=self.ticket_id)
        # Small pages, so that there is more than one.
        return list(pages(self.agent.tickets.ListTicketEvents, request, "events", page_size=7))

    def active_messages(self) -> list[notification.AcceptedMessage]:
        """What notification has of the ticket, the first accepted first."""
        request = notification.ListActiveMessagesRequest(ticket_id=self.ticket_id)
        call = self.administrator.notification.ListActiveMessages
        return list(reversed(list(pages(call, request, "messages"))))

    def timer_entries(self) -> list[timer.TimerEntry]:
        """What the timer still keeps of the ticket."""
        request = timer.GetTicketEntriesRequest(ticket_id=self.ticket_id)
        return list(self.administrator.timer.GetTicketEntries(request).entries)

    def past(
        self, ticket_seq: int
    ) -> tuple[history.TicketHistory, list[history.ConversationEntry]]:
        """The ticket and its conversation in history, as of the event `ticket_seq` at least."""
        self.administrator.history_settings.SetBotHistory(
            history_settings.SetBotHistoryRequest(bot_id=self.bot_id, enabled=True)
        )
        client = self.administrator.history
        give_up_at = time.monotonic() + HISTORY_TIMEOUT_S
        request = history.GetTicketHistoryRequest(ticket_id=self.ticket_id)
        while (known := client.GetTicketHistory(request).ticket).ticket_seq < ticket_seq:
            if time.monotonic() > give_up_at:
                raise AssertionError(f"history does not get beyond event {known.ticket_seq}")
            time.sleep(0.05)
        listing = history.ListConversationRequest(ticket_id=self.ticket_id)
        return known, list(pages(client.ListConversation, listing, "entries", page_size=3))


@dataclass(frozen=True)
class Step:
    """Something that is done at an instant of a conversation. A step that comes later than
    `slack_s` makes the run void."""

    at: float
    act: Callable[[Play], None]
    slack_s: float = 0.25


@dataclass
class Play:
    """A conversation while it is played."""

    desk: Desk
    seconds: Fraction
    # When the messages and other deeds were recorded, by their instants in the table, in microseconds.
    recorded_us: dict[float, int] = field(default_factory=dict)

    @property
    def start_us(self) -> int:
        """The instant that the table counts from."""
        return self.recorded_us[0]

    def instant_us(self, at: float) -> int:
        """The real instant for one of the table."""
        return self.start_us + round(at * self.seconds * 1_000_000)

    def after_us(self, since: float, at: float) -> int:
        """The real instant `at`, counted from the message that was written at `since`."""
        return self.recorded_us[since] + round((at - since) * self.seconds * 1_000_000)

    def run(self, steps: tuple[Step, ...], until: float) -> None:
        """Plays all steps, the first at once, and returns at the instant `until`."""
        for step in sorted(steps, key=lambda step: step.at):
            if self.recorded_us:
                self.sleep_until(step.at)
            step.act(self)
            if self.recorded_us and step.slack_s < float("inf"):
                late_s = (now_us() - self.instant_us(step.at)) / 1e6
                if late_s > step.slack_s:
                    raise TooSlow(f"the step at {step.at} was over {late_s:.3f} s late")
        self.sleep_until(until)

    def sleep_until(self, at: float) -> None:
        """Sleeps until an instant of the table."""
        time.sleep(max(0.0, (self.instant_us(at) - now_us()) / 1e6))


def writes(who: str, at: float, slack_s: float = 0.25) -> Step:
    """Somebody writes; `who` as in `Desk.writes`."""

    def act(play: Play) -> None:
        play.recorded_us[at] = play.desk.writes(who)

    return Step(at, act, slack_s)


def shows(
    at: float,
    alert: ticket.Alert.ValueType,
    state: ticket.TicketState.ValueType = ticket.TICKET_STATE_OPEN,
) -> Step:
    """The ticket is read, and must show this."""

    def act(play: Play) -> None:
        now = play.desk.read_ticket()
        late_s = (now_us() - play.instant_us(at)) / 1e6
        if late_s <= 0.25 and (now.alert, now.state) != (alert, state):
            raise AssertionError(
                f"at {at} the ticket shows {ticket.Alert.Name(now.alert)} "
                f"and is {ticket.TicketState.Name(now.state)}"
            )

    return Step(at, act)


# What is recorded first by each deed of `Desk.does`: the events of one call have one instant.
DEEDS = {
    "hold": "held",
    "resume": "hold_ended",
    "transfer": "transferred",
    "add-tag": "tags_changed",
    "remove-tag": "tags_changed",
}


def does(what: str, at: float, slack_s: float = 0.25) -> Step:
    """The agent does something else than to write; `what` as in `Desk.does`."""

    def act(play: Play) -> None:
        play.desk.does(what)
        times = [
            to_us(each.event_time)
            for each in play.desk.events()
            if each.WhichOneof("payload") == DEEDS[what]
        ]
        play.recorded_us[at] = times[-1]

    return Step(at, act, slack_s)


def changes_policy(at: float, inactivity: settings.InactivityPolicy, applies: bool = False) -> Step:
    """The administrator puts another policy in force, for open tickets too if it applies to
    them."""
    return Step(at, lambda play: play.desk.set_policy(inactivity, applies))


@dataclass(frozen=True)
class Happened:
    """One thing that the inactivity clock did to a ticket. `what` is yellow, red, warning, closed
    or cleared; yellow and red are stages: the alert that showed from then on may be higher, and
    stands in `alert`."""

    what: str
    cycle: int
    due_us: int
    event_us: int
    alert: ticket.Alert.ValueType


STAGE_NAMES = {
    ticket.STAGE_FIRST_ALERT: "yellow",
    ticket.STAGE_SECOND_ALERT: "red",
    ticket.STAGE_WARNING: "warning",
    ticket.STAGE_CLOSE: "close",
}


def timeline(events: list[event.TicketEvent]) -> list[Happened]:
    """What the clock did, in order. The close is two events, the stage and the closing, and a third
    when an alert showed; they are one thing here, and must have happened at once."""
    happened: list[Happened] = []
    for each in events:
        at_us = to_us(each.event_time)
        kind = each.WhichOneof("payload")
        if kind == "stage_fired":
            fired = each.stage_fired
            name = STAGE_NAMES[fired.stage]
            happened.append(Happened(name, fired.cycle, to_us(fired.due_time), at_us, fired.alert))
        elif kind == "closed":
            before = happened[-1] if happened else None
            if before is None or (before.what, before.cycle, before.event_us) != (
                "close",
                each.closed.cycle,
                at_us,
            ):
                raise AssertionError(f"closed without the stage: {each}, after {before}")
            happened[-1] = Happened("closed", before.cycle, before.due_us, at_us, before.alert)
        elif kind == "alert_cleared":
            is_of_close = bool(happened) and (happened[-1].what, happened[-1].event_us) == (
                "closed",
                at_us,
            )
            if not is_of_close:
                happened.append(Happened("cleared", 0, at_us, at_us, ticket.ALERT_UNSPECIFIED))
        elif kind == "reopened":
            happened.append(Happened("reopened", 0, at_us, at_us, ticket.ALERT_UNSPECIFIED))
    return happened


@dataclass(frozen=True)
class Recording:
    """All that can be read of a ticket after its conversation was played."""

    play: Play
    ticket: ticket.Ticket
    events: list[event.TicketEvent]
    happened: list[Happened]
    messages: list[notification.AcceptedMessage]
    timer_entries: list[timer.TimerEntry]
    past: history.TicketHistory
    conversation: list[history.ConversationEntry]


def record(play: Play) -> Recording:
    """Reads all that there is of the ticket."""
    events = play.desk.events()
    past, conversation = play.desk.past(events[-1].ticket_seq)
    return Recording(
        play=play,
        ticket=play.desk.read_ticket(),
        events=events,
        happened=timeline(events),
        messages=play.desk.active_messages(),
        timer_entries=play.desk.timer_entries(),
        past=past,
        conversation=conversation,
    )

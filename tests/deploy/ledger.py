"""The ledger: what was acknowledged of conversations, and the judgement of the events and messages
that were kept."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from plazo.common.v1 import common_pb2 as common
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.ticketing.v1 import event_pb2 as event
from plazo.ticketing.v1 import ticket_pb2 as ticket

# When each stage is due after the agent's message, in seconds.
STAGES = {
    ticket.STAGE_FIRST_ALERT: 3,
    ticket.STAGE_SECOND_ALERT: 6,
    ticket.STAGE_WARNING: 9,
    ticket.STAGE_CLOSE: 12,
}
US = 1_000_000


def to_us(instant: Timestamp) -> int:
    """An instant of a message, in microseconds since 1970."""
    return int(instant.ToMicroseconds())


@dataclass
class Conversation:
    """One ticket, with what was acknowledged."""

    ticket_id: int
    # Whether the customer has the last word, so that nothing more is due.
    is_answered: bool
    # Messages: by their ids, and by their texts where the answer told no id.
    messages: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    # Keys of active messages that agents sent.
    outreach: list[str] = field(default_factory=list)
    is_over: bool = False


@dataclass
class Requested:
    """An active message that the events of a ticket ask for."""

    ticket_id: int
    # The customer wrote after a warning: one that was still waiting is called off.
    may_be_called_off: bool = False


@dataclass
class Shown:
    """An alert that a ticket showed, from one instant to another, in microseconds."""

    ticket_id: int
    alert: int
    since: int
    until: int


@dataclass
class Verdict:
    """What became of the conversations."""

    problems: list[str] = field(default_factory=list)
    fired: collections.Counter[int] = field(default_factory=collections.Counter)
    lateness_s: list[float] = field(default_factory=list)
    # Cycles in which nobody wrote until a stage had to have fired: a lost one is noticed.
    bound: collections.Counter[int] = field(default_factory=collections.Counter)
    # Cycles that somebody ended before that.
    ended: collections.Counter[int] = field(default_factory=collections.Counter)
    # Those of them that were ended after the stage was due, and before it fired: a lost one is not
    # told from one that was about to fire.
    unseen: collections.Counter[int] = field(default_factory=collections.Counter)
    # By their keys.
    requested: dict[str, Requested] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    # Tickets in which somebody wrote after their close.
    reopened: set[int] = field(default_factory=set)


@dataclass
class _Cycle:
    anchor: int
    # When somebody wrote who ends it.
    end: int | None = None
    fired: dict[int, int] = field(default_factory=dict)


def judge(
    conversation: Conversation, events: list[event.TicketEvent], late_s: float, verdict: Verdict
) -> None:
    """Follows a ticket from its first event to its last. `late_s` is how late a stage may be."""
    problems = list(_problems(conversation, events, late_s, verdict))
    if problems:
        verdict.problems.append(f"ticket {conversation.ticket_id}: {problems}; {_told(events)}")


def judge_messages(
    requested: dict[str, Requested],
    accepted: Iterable[notification.AcceptedMessage],
    sent: collections.Counter[str],
) -> Iterator[str]:
    """The problems of active messages: `accepted` is what notification knows, and `sent` how often
    each of its references reached the provider."""
    by_key = collections.defaultdict(list)
    for each in accepted:
        by_key[each.message.idempotency_key].append(each)
    for key in requested.keys() - by_key.keys():
        yield f"message {key} was never accepted"
    for key in by_key.keys() - requested.keys():
        yield f"nobody has asked for message {key}"
    known: set[str] = set()
    for key, each in requested.items():
        for message in by_key[key]:
            state = active_message.ActiveMessageState.Name(message.state).rpartition("_")[2]
            reference = f"msg_{message.message_id}"
            known.add(reference)
            if state == "CANCELLED" and each.may_be_called_off:
                times = 0
            elif state in ("DELIVERED", "READ"):
                times = 1
            else:
                yield f"message {key} is {state} ({message.failure_reason})"
                continue
            if sent[reference] != times:
                yield f"message {key} is {state} and reached the provider {sent[reference]} times"
        if len(by_key[key]) > 1:
            yield f"message {key} is there {len(by_key[key])} times"
    for reference in sent.keys() - known:
        yield f"the provider got {reference}, which nobody knows"


def _told(events: list[event.TicketEvent]) -> str:
    """The events of a ticket in short: what, and how many seconds after the first."""
    began = to_us(events[0].event_time) if events else 0
    return ", ".join(
        f"{each.WhichOneof('payload')} {(to_us(each.event_time) - began) / US:.3f}"
        for each in events
    )


def _problems(
    conversation: Conversation, events: list[event.TicketEvent], late_s: float, verdict: Verdict
) -> Iterator[str]:
    """The problems of one ticket."""
    cycles: dict[int, _Cycle] = {}
    counted: collections.Counter[str] = collections.Counter()
    messages: list[tuple[int, str]] = []
    asked: dict[str, Requested] = {}
    alert, alert_since = ticket.ALERT_UNSPECIFIED, 0
    for each in events:
        what = str(each.WhichOneof("payload"))
        counted[what] += 1
        at = to_us(each.event_time)
        shows = alert
        if what == "message_recorded":
            message = each.message_recorded.message
            messages.append((message.message_id, message.text))
            by_customer = each.author.kind == common.AUTHOR_KIND_CUSTOMER
            if by_customer or each.message_recorded.cycles:
                for cycle in cycles.values():
                    cycle.end = cycle.end or at
            for start in each.message_recorded.cycles:
                cycles[start.cycle] = _Cycle(to_us(start.anchor_time))
            if by_customer:
                for request in asked.values():
                    request.may_be_called_off = True
        elif what == "stage_fired":
            fired = each.stage_fired
            shows = fired.alert or shows
            yield from _fire(cycles.get(fired.cycle), fired, at, late_s, verdict)
        elif what == "active_message_requested":
            asked[each.active_message_requested.message.idempotency_key] = Requested(
                conversation.ticket_id
            )
        elif what in ("alert_cleared", "closed"):
            shows = ticket.ALERT_UNSPECIFIED
        if shows != alert:
            if alert != ticket.ALERT_UNSPECIFIED:
                verdict.shown.append(Shown(conversation.ticket_id, alert, alert_since, at))
            alert, alert_since = shows, at
    if counted["reopened"]:
        verdict.reopened.add(conversation.ticket_id)
    for number, cycle in cycles.items():
        yield from _missing(number, cycle, late_s, verdict)
    if [each.ticket_seq for each in events] != list(range(1, len(events) + 1)):
        yield "its events are not in order, each once"
    yield from _writes(conversation, messages, asked)
    verdict.requested.update(asked)
    stages = [stage for cycle in cycles.values() for stage in cycle.fired]
    expected = {
        "opened": 1,
        # More than once where somebody wrote after it, which opens the ticket again.
        "closed": stages.count(ticket.STAGE_CLOSE),
        "active_message_requested": stages.count(ticket.STAGE_WARNING) + len(conversation.outreach),
    }
    for what, count in expected.items():
        if counted[what] != count:
            yield f"{counted[what]} times {what} instead of {count}"


def _writes(
    conversation: Conversation, messages: list[tuple[int, str]], asked: dict[str, Requested]
) -> Iterator[str]:
    """What was acknowledged and is not there, or not once."""
    texts = conversation.texts
    kept = sorted(message_id for message_id, text in messages if text not in texts)
    if kept != sorted(conversation.messages):
        yield f"acknowledged {conversation.messages}, kept {kept}"
    kept_texts = sorted(text for _, text in messages if text in texts)
    if kept_texts != sorted(texts):
        yield f"acknowledged {sorted(texts)}, kept {kept_texts}"
    if missing := set(conversation.outreach) - asked.keys():
        yield f"notification was not asked for {missing}"


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
    told = to_us(fired.due_time)
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


def _missing(number: int, cycle: _Cycle, late_s: float, verdict: Verdict) -> Iterator[str]:
    """Stages of a cycle that were due before its end and did not fire."""
    for stage, after_s in STAGES.items():
        due = cycle.anchor + after_s * US
        silent = cycle.end is None or cycle.end - due > late_s * US
        (verdict.bound if silent else verdict.ended)[stage] += 1
        if stage in cycle.fired:
            continue
        name = f"{ticket.Stage.Name(stage)} of cycle {number}"
        following = min((STAGES[other] for other in cycle.fired if other > stage), default=None)
        if following is not None and stage != ticket.STAGE_WARNING:
            # Both were due when it was looked at, and the higher one acts alone. So it was as late
            # as they are apart.
            if following - after_s > late_s:
                yield f"{name} was passed over, which is too late"
        elif cycle.end is None or following is not None:
            yield f"{name} never fired"
        elif silent:
            yield f"{name} had not fired after {(cycle.end - due) / US} s"
        elif cycle.end > due:
            verdict.unseen[stage] += 1

"""The ledger notices whatever is lost, twice, early or late: a good conversation has no problem,
and with each change of it that a broken cluster could make it has one."""

from __future__ import annotations

import collections
import copy
import unittest
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp
from plazo.common.v1 import common_pb2 as common
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.ticketing.v1 import event_pb2 as event
from plazo.ticketing.v1 import ticket_pb2 as ticket

from ledger import STAGES, US, Conversation, Requested, Shown, Verdict, judge, judge_messages

TICKET_ID = 7
LATE_S = 1.0
BEGAN = 1_800_000_000 * US
ALERTS = {
    ticket.STAGE_FIRST_ALERT: ticket.ALERT_YELLOW,
    ticket.STAGE_SECOND_ALERT: ticket.ALERT_RED,
    ticket.STAGE_WARNING: ticket.ALERT_RED,
}
Events = list[event.TicketEvent]


def at(after_s: float) -> Timestamp:
    """An instant after the beginning."""
    instant = Timestamp()
    instant.FromMicroseconds(BEGAN + round(after_s * US))
    return instant


class Course:
    """The events of a ticket, and what was acknowledged of it."""

    def __init__(self) -> None:
        self.events: Events = []
        self.conversation = Conversation(TICKET_ID, is_answered=False)
        self._cycle = 0
        self._add(0, opened=event.TicketOpened())

    def _add(self, after_s: float, **payload: object) -> event.TicketEvent:
        self.events.append(
            event.TicketEvent(
                ticket_id=TICKET_ID,
                ticket_seq=len(self.events) + 1,
                event_time=at(after_s),
                **payload,
            )
        )
        return self.events[-1]

    def writes(self, who: common.AuthorKind, after_s: float) -> None:
        """Somebody writes: the customer ends a cycle, an agent begins one."""
        message_id = 100 + len(self.conversation.messages)
        recorded = event.MessageRecorded(message=ticket.Message(message_id=message_id, text="Olá"))
        if who == common.AUTHOR_KIND_AGENT:
            self._cycle += 1
            recorded.cycles.add(cycle=self._cycle, anchor_time=at(after_s))
        self._add(after_s, message_recorded=recorded, author=common.Author(kind=who, id=1))
        self.conversation.messages.append(message_id)

    def fires(self, stage: ticket.Stage, anchor_s: float, late_s: float = 0.02) -> None:
        """A stage of the present cycle takes effect, with what follows from it."""
        due_s = anchor_s + STAGES[stage]
        fired = event.StageFired(
            cycle=self._cycle, stage=stage, due_time=at(due_s), alert=ALERTS.get(stage, 0)
        )
        self._add(due_s + late_s, stage_fired=fired)
        if stage == ticket.STAGE_WARNING:
            self.asks(f"warning-{self._cycle}", due_s + late_s)
        if stage == ticket.STAGE_CLOSE:
            self._add(due_s + late_s, closed=event.TicketClosed(cycle=self._cycle))

    def asks(self, key: str, after_s: float) -> None:
        """An active message is asked for."""
        message = active_message.ActiveMessage(idempotency_key=key)
        self._add(after_s, active_message_requested=event.ActiveMessageRequested(message=message))


def silent() -> Course:
    """An agent writes, and nobody answers."""
    course = Course()
    course.writes(common.AUTHOR_KIND_AGENT, 0.1)
    for stage in STAGES:
        course.fires(stage, 0.1)
    return course


def answered(after_s: float, late_s: float = 0.02) -> Course:
    """The customer answers after the first alert."""
    course = Course()
    course.writes(common.AUTHOR_KIND_AGENT, 0.1)
    if after_s > STAGES[ticket.STAGE_FIRST_ALERT] + late_s:
        course.fires(ticket.STAGE_FIRST_ALERT, 0.1, late_s)
    course.writes(common.AUTHOR_KIND_CUSTOMER, 0.1 + after_s)
    return course


def judged(course: Course) -> Verdict:
    """What the ledger says."""
    verdict = Verdict()
    judge(course.conversation, course.events, LATE_S, verdict)
    return verdict


def fired(events: Events, stage: ticket.Stage) -> event.TicketEvent:
    """The firing of a stage."""
    (found,) = (
        each for each in events if each.HasField("stage_fired") and each.stage_fired.stage == stage
    )
    return found


def renumber(events: Events) -> None:
    """As if nothing had ever been between them."""
    for seq, each in enumerate(events, 1):
        each.ticket_seq = seq


def lose(what: str) -> Callable[[Course], None]:
    """Loses the last event of a kind."""

    def change(course: Course) -> None:
        course.events.remove([each for each in course.events if each.HasField(what)][-1])
        renumber(course.events)

    return change


def lose_stage(stage: ticket.Stage) -> Callable[[Course], None]:
    """Loses a firing."""

    def change(course: Course) -> None:
        course.events.remove(fired(course.events, stage))
        renumber(course.events)

    return change


def double(what: str) -> Callable[[Course], None]:
    """Keeps the last event of a kind twice."""

    def change(course: Course) -> None:
        index = max(i for i, each in enumerate(course.events) if each.HasField(what))
        course.events.insert(index, copy.deepcopy(course.events[index]))
        renumber(course.events)

    return change


def move(stage: ticket.Stage, by_s: float, *, due: bool = False) -> Callable[[Course], None]:
    """Moves a firing, or what it says of when it was due."""

    def change(course: Course) -> None:
        one = fired(course.events, stage)
        moved = one.stage_fired.due_time if due else one.event_time
        moved.FromMicroseconds(moved.ToMicroseconds() + round(by_s * US))

    return change


def gap(course: Course) -> None:
    """An event is missing in a ticket's numbers."""
    for each in course.events[3:]:
        each.ticket_seq += 1


def lose_both_alerts(course: Course) -> None:
    """A ticket that was never alerted, and closed all the same."""
    for stage in (ticket.STAGE_FIRST_ALERT, ticket.STAGE_SECOND_ALERT):
        lose_stage(stage)(course)


class LedgerTest(unittest.TestCase):
    """Each change by itself."""

    def test_good_conversations_have_no_problems(self) -> None:
        verdict = judged(silent())
        self.assertEqual(verdict.problems, [])
        self.assertEqual(verdict.bound, dict.fromkeys(STAGES, 1))
        self.assertEqual(verdict.requested, {"warning-1": Requested(TICKET_ID)})
        yellow, red = BEGAN + 3_120_000, BEGAN + 6_120_000
        self.assertEqual(
            verdict.shown,
            [
                Shown(TICKET_ID, ticket.ALERT_YELLOW, yellow, red),
                Shown(TICKET_ID, ticket.ALERT_RED, red, BEGAN + 12_120_000),
            ],
        )
        for after_s in (1.5, 4.6):
            self.assertEqual(judged(answered(after_s)).problems, [])

    def test_each_fault_is_noticed(self) -> None:
        first, second = ticket.STAGE_FIRST_ALERT, ticket.STAGE_SECOND_ALERT
        warning, close = ticket.STAGE_WARNING, ticket.STAGE_CLOSE
        for change, message in (
            (lose_stage(first), "FIRST_ALERT of cycle 1 was passed over, which is too late"),
            (lose_stage(second), "SECOND_ALERT of cycle 1 was passed over, which is too late"),
            (lose_both_alerts, "FIRST_ALERT of cycle 1 was passed over, which is too late"),
            (lose_stage(warning), "STAGE_WARNING of cycle 1 never fired"),
            (lose_stage(close), "STAGE_CLOSE of cycle 1 never fired"),
            (lose("closed"), "0 times closed instead of 1"),
            (lose("active_message_requested"), "0 times active_message_requested instead of 1"),
            (lose("message_recorded"), "kept []"),
            (double("stage_fired"), "STAGE_CLOSE of cycle 1 fired twice"),
            (double("closed"), "2 times closed instead of 1"),
            (double("message_recorded"), "kept [100, 100]"),
            (double("active_message_requested"), "2 times active_message_requested"),
            (move(second, -0.03), "STAGE_SECOND_ALERT of cycle 1 fired 0.01 s early"),
            (move(second, 1.0), "STAGE_SECOND_ALERT of cycle 1 fired 1.02 s late"),
            (move(warning, -0.001, due=True), "was due -0.001 s from where it should be"),
            (move(warning, 0.001, due=True), "was due 0.001 s from where it should be"),
            (gap, "not in order, each once"),
        ):
            with self.subTest(message):
                course = silent()
                change(course)
                self.assertIn(message, " ".join(judged(course).problems))

    def test_an_alert_that_is_lost_before_an_answer(self) -> None:
        """It is noticed when the customer waited with his answer, and counted when he did not."""
        lost = answered(4.6)
        lose_stage(ticket.STAGE_FIRST_ALERT)(lost)
        self.assertIn(
            "STAGE_FIRST_ALERT of cycle 1 had not fired after 1.6 s",
            " ".join(judged(lost).problems),
        )
        early = judged(answered(3.4, late_s=0.5))
        self.assertEqual(early.problems, [])
        first = ticket.STAGE_FIRST_ALERT
        self.assertEqual((early.bound[first], early.ended[first], early.unseen[first]), (0, 1, 1))

    def test_a_stage_after_the_answer_is_noticed(self) -> None:
        course = answered(4.6)
        course.fires(ticket.STAGE_SECOND_ALERT, 0.1)
        self.assertIn("STAGE_SECOND_ALERT of cycle 1 fired after its cycle", str(judged(course)))

    def test_what_an_agent_sends_is_there_once(self) -> None:
        course = silent()
        course.conversation.outreach.append("outreach-1")
        course.conversation.texts.append("Ainda está aí?")
        problems = " ".join(judged(course).problems)
        self.assertIn("acknowledged ['Ainda está aí?'], kept []", problems)
        self.assertIn("notification was not asked for {'outreach-1'}", problems)

    def test_messages_reach_the_provider_once(self) -> None:
        def problems(state: str, sent: int, *, called_off: bool = False) -> list[str]:
            message = notification.AcceptedMessage(
                message_id=1,
                message=active_message.ActiveMessage(idempotency_key="warning-1"),
                state=f"ACTIVE_MESSAGE_STATE_{state}",
            )
            requested = {"warning-1": Requested(TICKET_ID, may_be_called_off=called_off)}
            counts = collections.Counter({"msg_1": sent} if sent else {})
            return list(judge_messages(requested, [message], counts))

        self.assertEqual(problems("DELIVERED", 1), [])
        self.assertEqual(problems("CANCELLED", 0, called_off=True), [])
        self.assertIn("reached the provider 0 times", str(problems("DELIVERED", 0)))
        self.assertIn("reached the provider 2 times", str(problems("DELIVERED", 2)))
        too_late = problems("CANCELLED", 1, called_off=True)
        self.assertIn("reached the provider 1 times", str(too_late))
        for state in ("CANCELLED", "UNCERTAIN", "FAILED", "ACCEPTED", "SENT"):
            self.assertIn(f"warning-1 is {state}", str(problems(state, 0)))

    def test_messages_are_those_that_were_asked_for(self) -> None:
        message = notification.AcceptedMessage(
            message_id=1,
            message=active_message.ActiveMessage(idempotency_key="warning-1"),
            state="ACTIVE_MESSAGE_STATE_DELIVERED",
        )
        requested = {"warning-1": Requested(TICKET_ID)}
        once = collections.Counter(msg_1=1)
        nothing: collections.Counter[str] = collections.Counter()
        self.assertIn("was never accepted", str(list(judge_messages(requested, [], nothing))))
        self.assertIn("nobody has asked", str(list(judge_messages({}, [message], once))))
        self.assertIn("is there 2 times", str(list(judge_messages(requested, [message] * 2, once))))
        other = once + collections.Counter(msg_2=1)
        self.assertIn("which nobody knows", str(list(judge_messages(requested, [message], other))))


if __name__ == "__main__":
    unittest.main()

"""What must hold for every ticket that was played, whatever its conversation was."""

from __future__ import annotations

import itertools
import unittest
from dataclasses import dataclass

from plazo.history.v1 import history_service_pb2 as history
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.ticketing.v1 import ticket_pb2 as ticket

from conversation import (
    CLOSING_NOTE,
    CLOSING_TAG,
    CLOSING_TEXT,
    CUSTOMER,
    EXIT_ROUTE,
    WARNING_TEXT,
    Happened,
    Recording,
)
from plazo_client import to_us

LATE_MAX_US = 400_000
# Deadlines are rounded up to whole milliseconds.
ROUNDING_US = 1_000


@dataclass(frozen=True)
class Expected:
    """One line of a table: what happens when, in the table's seconds, in which cycle, and since
    which message the clock has run for it. `due` and `due_since` are what ticketing takes for the
    deadline, where that is another instant; a `due` of None leaves it open."""

    what: str
    at: float
    since: float = 0
    cycle: int = 1
    due: float | None = -1.0
    due_since: float = 0


def check_timeline(
    test: unittest.TestCase, recording: Recording, expected: tuple[Expected, ...]
) -> None:
    """All that is expected happened in this order at its instants, once, and nothing else did."""
    test.assertEqual(
        [(each.what, each.cycle) for each in recording.happened],
        [(each.what, each.cycle) for each in expected],
    )
    for happened, line in zip(recording.happened, expected, strict=True):
        if line.what == "cleared":
            test.assertEqual(happened.event_us, recording.play.recorded_us[line.at], line)
            continue
        expected_us = recording.play.after_us(line.since, line.at)
        if line.due is not None:
            due_us = expected_us
            if line.due >= 0:
                due_us = recording.play.after_us(line.due_since, line.due)
            test.assertGreaterEqual(happened.due_us, due_us, line)
            test.assertLessEqual(happened.due_us, due_us + ROUNDING_US, line)
        check_on_time(test, happened, max(expected_us, happened.due_us))


def check_on_time(test: unittest.TestCase, happened: Happened, due_us: int | None = None) -> None:
    """Not early, and not late. `due_us` is the instant that it follows from, if that is not what
    ticketing says."""
    due_us = happened.due_us if due_us is None else due_us
    test.assertGreaterEqual(happened.event_us, due_us, f"early: {happened}")
    test.assertLessEqual(happened.event_us, due_us + LATE_MAX_US, f"late: {happened}")


def check_messages(
    test: unittest.TestCase, recording: Recording, kinds: list[str], seconds_left: int = 5
) -> None:
    """The customer was sent these active messages, once each, and ticketing was told of each in
    order."""
    prefix = "ACTIVE_MESSAGE_KIND_"
    names = [
        active_message.ActiveMessageKind.Name(each.message.kind).removeprefix(prefix)
        for each in recording.messages
    ]
    test.assertEqual(names, kinds)
    texts = {"WARNING": warning_text(recording, seconds_left), "CLOSING_TEXT": closing_text()}
    requested = [
        each.active_message_requested.message
        for each in recording.events
        if each.HasField("active_message_requested")
    ]
    test.assertEqual([each.message for each in recording.messages], requested)
    for name, each in zip(names, recording.messages, strict=True):
        test.assertEqual(each.message.text, texts[name])
        test.assertEqual(each.message.contact_id, recording.play.desk.contact_id)
        test.assertEqual(each.state, active_message.ACTIVE_MESSAGE_STATE_DELIVERED, each)
        reported = [
            event.active_message_reported.state
            for event in recording.events
            if event.HasField("active_message_reported")
            and event.active_message_reported.idempotency_key == each.message.idempotency_key
        ]
        test.assertEqual(reported, sorted(set(reported)), "states only move forward")
        test.assertEqual(reported[-1:], [active_message.ACTIVE_MESSAGE_STATE_DELIVERED])


def check_accepted_on_time(test: unittest.TestCase, recording: Recording) -> None:
    """Notification had each message soon after the stage that called for it."""
    calling = [each for each in recording.happened if each.what in ("warning", "closed")]
    for stage, each in zip(calling, recording.messages, strict=True):
        late_us = to_us(each.accept_time) - stage.event_us
        test.assertTrue(0 <= late_us <= LATE_MAX_US, f"accepted {late_us} µs after {stage}")


def check_events(test: unittest.TestCase, recording: Recording) -> None:
    """Events are numbered without gaps and never go back in time."""
    numbers = [event.ticket_seq for event in recording.events]
    test.assertEqual(numbers, list(range(1, len(numbers) + 1)))
    times = [to_us(event.event_time) for event in recording.events]
    test.assertTrue(all(a <= b for a, b in itertools.pairwise(times)), times)
    test.assertEqual(
        {(event.tenant_id, event.bot_id, event.ticket_id) for event in recording.events},
        {(recording.play.desk.tenant_id, recording.play.desk.bot_id, recording.ticket.ticket_id)},
    )


def check_closed(test: unittest.TestCase, recording: Recording) -> None:
    """The ticket is closed by inactivity, with all that the settings say, in ticketing and in
    history."""
    closed = recording.ticket
    test.assertEqual(closed.state, ticket.TICKET_STATE_CLOSED)
    test.assertEqual(closed.closure.source, ticket.CLOSE_SOURCE_CUSTOMER_INACTIVITY)
    test.assertEqual(closed.closure.exit_route, EXIT_ROUTE)
    test.assertEqual(closed.closure.note, CLOSING_NOTE)
    test.assertEqual(list(closed.tags), [CLOSING_TAG])
    test.assertEqual(to_us(closed.closure.close_time), recording.happened[-1].event_us)
    test.assertEqual(recording.past.closure, closed.closure)
    test.assertEqual(list(recording.past.tags), [CLOSING_TAG])
    check_at_rest(test, recording)


def check_at_rest(test: unittest.TestCase, recording: Recording) -> None:
    """Nothing is pending any more but the bot's automation in an open ticket, no alert shows, and
    history knows the same ticket."""
    now = recording.ticket
    test.assertEqual(now.alert, ticket.ALERT_UNSPECIFIED)
    test.assertFalse(now.HasField("inactivity_cycle"), now)
    test.assertFalse(now.HasField("agent_cycle"), now)
    test.assertFalse(now.HasField("hold"), now)
    if now.state == ticket.TICKET_STATE_CLOSED:
        test.assertFalse(now.HasField("next_due_time"), now)
        test.assertEqual(now.automation.state, ticket.AUTOMATION_STATE_RUNNING)
        test.assertEqual(recording.timer_entries, [])
    else:
        test.assertEqual(now.automation.state, ticket.AUTOMATION_STATE_PAUSED)
        test.assertEqual(now.next_due_time, now.automation.resume_time)
        test.assertTrue(recording.timer_entries)
    past = recording.past
    test.assertEqual(
        (past.ticket_id, past.state, past.agent_id, past.ticket_seq),
        (now.ticket_id, now.state, now.agent_id, len(recording.events)),
    )
    test.assertEqual(past.contact.name, CUSTOMER)
    test.assertEqual(past.open_time, now.open_time)
    test.assertEqual(past.open_time, recording.events[0].event_time)


def check_conversation(
    test: unittest.TestCase,
    recording: Recording,
    expected: tuple[str, ...],
    seconds_left: int = 5,
) -> None:
    """History shows who wrote what, in this order: agent, customer, system and note as they were
    played, WARNING and CLOSING_TEXT as they were sent."""
    sent = {
        "WARNING": (
            history.CONVERSATION_ENTRY_KIND_WARNING,
            warning_text(recording, seconds_left),
        ),
        "CLOSING_TEXT": (history.CONVERSATION_ENTRY_KIND_CLOSING_TEXT, closing_text()),
        "note": (history.CONVERSATION_ENTRY_KIND_NOTE, "from note"),
    }
    test.assertEqual(
        [(entry.kind, entry.message.text) for entry in recording.conversation],
        [
            sent.get(each, (history.CONVERSATION_ENTRY_KIND_CHAT, f"from {each}"))
            for each in expected
        ],
    )


def warning_text(recording: Recording, table_seconds: int = 5) -> str:
    """The warning as the customer reads it: so many of the table's seconds are left."""
    seconds_left = int(table_seconds * recording.play.seconds)
    text = WARNING_TEXT.replace("{{contact_name}}", CUSTOMER)
    return text.replace("{{time_left}}", f"{seconds_left} s")


def closing_text() -> str:
    """The closing text as the customer reads it."""
    return CLOSING_TEXT.replace("{{contact_name}}", CUSTOMER)

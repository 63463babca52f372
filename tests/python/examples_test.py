"""The product's examples of the inactivity cycle, in real time, on a cluster of `plazo up`.

All are played at the same time, each by a tenant of its own, five times as fast as they are
written.
"""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

import grpc
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as ticket_service

from checks import (
    Expected,
    check_accepted_on_time,
    check_at_rest,
    check_closed,
    check_conversation,
    check_events,
    check_messages,
    check_timeline,
)
from cluster import Cluster
from conversation import (
    Desk,
    Play,
    Recording,
    Step,
    TooSlow,
    changes_policy,
    does,
    policy,
    record,
    shows,
    writes,
)
from plazo_client import Addresses, now_us

SECONDS = Fraction(1, 5)
# A conversation whose steps came late is played again: it was another one.
ATTEMPTS = 3
SEEN_LIVE_MAX_US = 500_000

NONE = ticket.ALERT_UNSPECIFIED
YELLOW = ticket.ALERT_YELLOW
RED = ticket.ALERT_RED
CLOSED = ticket.TICKET_STATE_CLOSED
WAITING = ticket.TICKET_STATE_WAITING


@dataclass(frozen=True)
class Example:
    """A line of the table. `until` is when the last look is taken: later than anything that might
    happen."""

    name: str
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    messages: tuple[str, ...]
    conversation: tuple[str, ...]
    until: float
    # The length of one second of the table, and the policy to it.
    seconds: Fraction = SECONDS
    inactivity: settings.InactivityPolicy = field(default_factory=lambda: policy(SECONDS))
    ends: ticket.TicketState.ValueType = ticket.TICKET_STATE_OPEN
    # What the warning says is left, in seconds of the table.
    seconds_left: int = 5

    @property
    def closes(self) -> bool:
        """Whether the ticket is closed in the end."""
        return self.expected[-1].what == "closed"


UNDISTURBED = (
    Expected("yellow", 10),
    Expected("red", 20),
    Expected("warning", 25),
    Expected("closed", 30),
)
UNDISTURBED_LOOKS = (
    shows(5, NONE),
    shows(15, YELLOW),
    shows(22.5, RED),
    shows(27.5, RED),
    shows(33, NONE, CLOSED),
)

EXAMPLES = (
    Example(
        name="agent 0",
        steps=(writes("agent", 0), *UNDISTURBED_LOOKS),
        expected=UNDISTURBED,
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=37,
    ),
    Example(
        name="agent 0, customer 12",
        steps=(
            writes("agent", 0),
            shows(5, NONE),
            writes("customer", 12),
            shows(12.5, NONE),
            shows(32.5, NONE),
        ),
        expected=(Expected("yellow", 10), Expected("cleared", 12, cycle=0)),
        messages=(),
        conversation=("agent", "customer"),
        until=44,
    ),
    Example(
        name="agent 0, customer 12, agent 15",
        steps=(
            writes("agent", 0),
            writes("customer", 12),
            shows(13, NONE),
            writes("agent", 15),
            shows(22, NONE),
            shows(30, YELLOW),
            shows(37.5, RED),
            shows(42.5, RED),
            shows(48, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("cleared", 12, cycle=0),
            Expected("yellow", 25, since=15, cycle=2),
            Expected("red", 35, since=15, cycle=2),
            Expected("warning", 40, since=15, cycle=2),
            Expected("closed", 45, since=15, cycle=2),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "customer", "agent", "WARNING", "CLOSING_TEXT"),
        until=52,
    ),
    Example(
        name="agent 0, agent 8",
        steps=(
            writes("agent", 0),
            writes("agent", 8),
            shows(15, NONE),
            shows(23, YELLOW),
            shows(30.5, RED),
            shows(41, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 18, since=8, cycle=2),
            Expected("red", 28, since=8, cycle=2),
            Expected("warning", 33, since=8, cycle=2),
            Expected("closed", 38, since=8, cycle=2),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "agent", "WARNING", "CLOSING_TEXT"),
        until=45,
    ),
    Example(
        name="agent 0, agent 8 with FIRST_MESSAGE",
        inactivity=policy(SECONDS, anchor=settings.ANCHOR_FIRST_MESSAGE),
        steps=(writes("agent", 0), writes("agent", 8), *UNDISTURBED_LOOKS),
        expected=UNDISTURBED,
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "agent", "WARNING", "CLOSING_TEXT"),
        until=45,
    ),
    Example(
        name="agent 0, agent 27",
        steps=(
            writes("agent", 0),
            shows(15, YELLOW),
            shows(22.5, RED),
            writes("agent", 27),
            shows(33, RED),
            shows(42, RED),
            shows(49.5, RED),
            shows(54.5, RED),
            shows(60, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("red", 20),
            Expected("warning", 25),
            Expected("yellow", 37, since=27, cycle=2),
            Expected("red", 47, since=27, cycle=2),
            Expected("warning", 52, since=27, cycle=2),
            Expected("closed", 57, since=27, cycle=2),
        ),
        messages=("WARNING", "WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "agent", "WARNING", "CLOSING_TEXT"),
        until=64,
    ),
    Example(
        name="agent 0, customer commits just before the close commits",
        steps=(
            writes("agent", 0),
            shows(22.5, RED),
            # A tenth of a real second before the close; recorded after it, it would be another
            # example.
            writes("customer", 29.5, slack_s=0.09),
            shows(30.5, NONE),
            shows(36, NONE),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("red", 20),
            Expected("warning", 25),
            Expected("cleared", 29.5, cycle=0),
        ),
        messages=("WARNING",),
        conversation=("agent", "WARNING", "customer"),
        until=62,
    ),
    Example(
        name="agent 0, system message 9, note 9",
        steps=(writes("agent", 0), writes("system", 9), writes("note", 9.1), *UNDISTURBED_LOOKS),
        expected=UNDISTURBED,
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "system", "note", "WARNING", "CLOSING_TEXT"),
        until=46,
    ),
    Example(
        name="agent 0, settings doubled at 5",
        steps=(
            writes("agent", 0),
            changes_policy(5, policy(SECONDS, times=2)),
            *UNDISTURBED_LOOKS,
        ),
        expected=UNDISTURBED,
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=64,
    ),
    Example(
        name="agent 0, settings doubled at 5 with apply_to_open_tickets",
        steps=(
            writes("agent", 0),
            changes_policy(5, policy(SECONDS, times=2), applies=True),
            shows(15, NONE),
            shows(30, YELLOW),
            shows(45, RED),
            shows(55, RED),
            shows(63, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 20),
            Expected("red", 40),
            Expected("warning", 50),
            Expected("closed", 60),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=67,
        seconds_left=10,
    ),
    Example(
        name="agent 0, settings doubled at 12 with apply_to_open_tickets",
        steps=(
            writes("agent", 0),
            changes_policy(12, policy(SECONDS, times=2), applies=True),
            shows(15, YELLOW),
            shows(30, YELLOW),
            shows(45, RED),
            shows(63, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("red", 40),
            Expected("warning", 50),
            Expected("closed", 60),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=67,
        seconds_left=10,
    ),
    Example(
        name="agent 0, hold 5, resume 50",
        steps=(
            writes("agent", 0),
            does("hold", 5),
            shows(15, NONE),
            shows(35, NONE),
            does("resume", 50),
            shows(55, NONE),
            shows(65, YELLOW),
            shows(72.5, RED),
            shows(83, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 60, since=50, cycle=2),
            Expected("red", 70, since=50, cycle=2),
            Expected("warning", 75, since=50, cycle=2),
            Expected("closed", 80, since=50, cycle=2),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=87,
    ),
    Example(
        name="agent 0, hold 15, customer 18, agent 20",
        steps=(
            writes("agent", 0),
            does("hold", 15),
            shows(16.5, NONE),
            writes("customer", 18),
            writes("agent", 20),
            shows(25, NONE),
            shows(35, YELLOW),
            shows(42.5, RED),
            shows(53, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("cleared", 15, cycle=0),
            Expected("yellow", 30, since=20, cycle=2),
            Expected("red", 40, since=20, cycle=2),
            Expected("warning", 45, since=20, cycle=2),
            Expected("closed", 50, since=20, cycle=2),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "customer", "agent", "WARNING", "CLOSING_TEXT"),
        until=57,
    ),
    Example(
        name="agent 0, transfer to queue 15",
        steps=(
            writes("agent", 0),
            shows(12.5, YELLOW),
            does("transfer", 15),
            shows(17, NONE, WAITING),
            shows(35, NONE, WAITING),
        ),
        expected=(Expected("yellow", 10), Expected("cleared", 15, cycle=0)),
        messages=(),
        conversation=("agent",),
        until=50,
        ends=WAITING,
    ),
    Example(
        # As long as it is written: a warning is late only after a second of real time.
        name="agent 0, excluded tag added 22, removed 28",
        seconds=Fraction(1),
        inactivity=policy(Fraction(1)),
        steps=(
            writes("agent", 0),
            shows(21, RED),
            does("add-tag", 22),
            shows(26, RED),
            does("remove-tag", 28),
            shows(30.5, RED),
            shows(34, NONE, CLOSED),
        ),
        expected=(
            Expected("yellow", 10),
            Expected("red", 20),
            Expected("warning", 28, since=28, due=25),
            # It counts from the acceptance of the warning, a moment after the tag went.
            Expected("closed", 33, since=28, due=None),
        ),
        messages=("WARNING", "CLOSING_TEXT"),
        conversation=("agent", "WARNING", "CLOSING_TEXT"),
        until=36,
    ),
)
WATCHED = EXAMPLES[0].name


class Watcher:
    """Somebody who looks at a bot's tickets live, and notes what arrives when."""

    def __init__(self, desk: Desk, states: list[ticket.TicketState.ValueType]) -> None:
        watched = ticket_service.TicketFilter(states=states, bot_id=desk.bot_id)
        request = ticket_service.WatchTicketsRequest(filter=watched)
        self._call = desk.agent.tickets.WatchTickets(request, timeout=60)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.seen: list[tuple[int, ticket_service.WatchTicketsResponse]] = []
        self.error: grpc.RpcError | None = None
        for update in self._call:
            kind = update.WhichOneof("update")
            if kind == "snapshot_end" and not update.snapshot_end.ticket_count:
                break
            if kind != "snapshot_begin":
                raise AssertionError(f"a new bot has no tickets: {update}")
        self._thread.start()

    def _read(self) -> None:
        try:
            for update in self._call:
                # Some messages carry a position and nothing else.
                if update.WhichOneof("update"):
                    self.seen.append((now_us(), update))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                self.error = error

    def stop(self) -> None:
        """Goes away, as a browser does that is closed."""
        self._call.cancel()
        self._thread.join(timeout=10)


class ExamplesTest(unittest.TestCase):
    """Plays all examples once; each test looks at one side of what was recorded."""

    recordings: dict[str, Recording]
    failures: dict[str, BaseException]
    watchers: dict[str, Watcher]

    @classmethod
    def setUpClass(cls) -> None:
        cluster = Cluster()
        cls.addClassCleanup(cluster.stop)
        cluster.start()
        cls.recordings, cls.failures, cls.watchers = {}, {}, {}
        with ThreadPoolExecutor(len(EXAMPLES)) as threads:
            desks = list(
                threads.map(
                    lambda index: Desk(cluster.addresses, index + 1, EXAMPLES[index].inactivity),
                    range(len(EXAMPLES)),
                )
            )
            for desk in desks:
                cls.addClassCleanup(desk.administrator.close)
            cls.watchers = {
                "open and closed": Watcher(desks[0], list(ticket.TicketState.values())[1:]),
                "open": Watcher(desks[0], []),
            }
            played = [
                (example, threads.submit(play, cluster.addresses, example, desk))
                for example, desk in zip(EXAMPLES, desks, strict=True)
            ]
            for example, recording in played:
                failure = recording.exception()
                if failure is None:
                    cls.recordings[example.name] = recording.result()
                else:
                    cls.failures[example.name] = failure
        for watcher in cls.watchers.values():
            watcher.stop()

    def each(self) -> list[tuple[Example, Recording]]:
        """The examples that could be played. `test_all_were_played` tells of the others."""
        return [
            (example, self.recordings[example.name])
            for example in EXAMPLES
            if example.name in self.recordings
        ]

    def test_all_were_played(self) -> None:
        # A look in between that showed another state or alert has failed there and then.
        for example in EXAMPLES:
            with self.subTest(example.name):
                if example.name in self.failures:
                    raise self.failures[example.name]

    def test_each_stage_acts_once_at_its_instant_and_nothing_else_happens(self) -> None:
        for example, recording in self.each():
            with self.subTest(example.name):
                check_timeline(self, recording, example.expected)
                check_events(self, recording)

    def test_the_alert_of_a_new_cycle_never_falls_below_the_one_that_shows(self) -> None:
        recording = self.recordings["agent 0, agent 27"]
        self.assertEqual(
            [each.alert for each in recording.happened],
            [YELLOW, RED, RED, RED, RED, RED, NONE],
        )

    def test_warnings_and_closing_texts_are_sent_once(self) -> None:
        for example, recording in self.each():
            with self.subTest(example.name):
                check_messages(self, recording, list(example.messages), example.seconds_left)
                check_accepted_on_time(self, recording)

    def test_what_is_closed_is_closed_as_the_settings_say_and_the_rest_is_open(self) -> None:
        for example, recording in self.each():
            with self.subTest(example.name):
                if example.closes:
                    check_closed(self, recording)
                else:
                    self.assertEqual(recording.ticket.state, example.ends)
                    self.assertFalse(recording.ticket.HasField("closure"))
                    check_at_rest(self, recording)

    def test_history_shows_the_conversation(self) -> None:
        for example, recording in self.each():
            with self.subTest(example.name):
                check_conversation(self, recording, example.conversation, example.seconds_left)

    def test_a_watcher_sees_yellow_red_and_the_close_live(self) -> None:
        recording = self.recordings[WATCHED]
        instants = {each.what: each.event_us for each in recording.happened}
        watcher = self.watchers["open and closed"]
        self.assertIsNone(watcher.error)
        seen = [(at_us, update.ticket) for at_us, update in watcher.seen]
        self.assertTrue(all(update.HasField("ticket") for _, update in watcher.seen), watcher.seen)
        self.check_seen(seen, "yellow", instants["yellow"], lambda now: now.alert == YELLOW)
        self.check_seen(seen, "red", instants["red"], lambda now: now.alert == RED)
        self.check_seen(seen, "closed", instants["closed"], lambda now: now.state == CLOSED)
        self.assertEqual(seen[-1][1], recording.ticket, "the last that was seen is the truth")

    def test_a_watcher_of_open_tickets_sees_the_closed_one_leave(self) -> None:
        recording = self.recordings[WATCHED]
        watcher = self.watchers["open"]
        self.assertIsNone(watcher.error)
        left = [
            (at_us, update.left_ticket_id)
            for at_us, update in watcher.seen
            if update.WhichOneof("update") == "left_ticket_id"
        ]
        self.assertEqual([ticket_id for _, ticket_id in left], [recording.ticket.ticket_id])
        late_us = left[0][0] - recording.happened[-1].event_us
        self.assertLessEqual(late_us, SEEN_LIVE_MAX_US)

    def check_seen(
        self,
        seen: list[tuple[int, ticket.Ticket]],
        what: str,
        happened_us: int,
        matches: Callable[[ticket.Ticket], bool],
    ) -> None:
        """The first update that matches came soon after it happened."""
        seen_us = [at_us for at_us, now in seen if matches(now)]
        self.assertTrue(seen_us, f"{what} was never seen")
        late_us = seen_us[0] - happened_us
        self.assertLessEqual(late_us, SEEN_LIVE_MAX_US, f"{what} was seen {late_us} µs late")


def play(addresses: Addresses, example: Example, desk: Desk) -> Recording:
    """Plays an example. A run whose steps were late is played again by another tenant."""
    for attempt in range(1, ATTEMPTS + 1):
        desk.open_ticket()
        conversation = Play(desk, example.seconds)
        try:
            conversation.run(example.steps, example.until)
            return record(conversation)
        except TooSlow:
            if attempt == ATTEMPTS or example.name == WATCHED:
                raise
            desk = Desk(addresses, desk.tenant_id + 1_000, example.inactivity)
    raise AssertionError("not reached")


if __name__ == "__main__":
    unittest.main()

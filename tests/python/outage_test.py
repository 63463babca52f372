"""The product's examples in which something is down while stages fall due, in real time.

Whatever was due meanwhile acts when the cluster is up again: the highest alert at once, the warning
with it, and the close only when the customer has had the time that the warning promised. "At 40" in
the tables is the moment at which the cluster acts again, which depends on how long it takes to
start; what follows is counted from there.
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

from plazo.ticketing.v1 import ticket_pb2 as ticket

from checks import (
    ROUNDING_US,
    check_closed,
    check_conversation,
    check_events,
    check_messages,
    check_on_time,
)
from cluster import Cluster, SeparateServices
from conversation import Desk, Play, Recording, Step, policy, record, shows, writes
from plazo_client import now_us, to_us

# How long after it serves again a cluster may take to act on what was due.
RECOVERY_MAX_US = 1_000_000
# Longer than the close can take after the restart, and than anything that might come twice after
# it.
CLOSE_TIMEOUT_S = 15.0
SETTLE_S = 1.5
ATTEMPTS = 3
NEVER_LATE = float("inf")

RED = ticket.ALERT_RED


@dataclass
class Outage:
    """An outage as it really was: when the start began, and when all that was down served again."""

    start_us: int = 0
    serving_us: int = 0

    def end(self, start: Callable[[], int]) -> None:
        """Ends it: `start` returns the instant at which what it starts serves."""
        self.start_us = now_us()
        self.serving_us = start()


def play_out(conversation: Play, steps: tuple[Step, ...]) -> Recording:
    """Plays the steps, the last of which ends the outage, and what follows up to the close and a
    while longer."""
    conversation.desk.open_ticket()
    conversation.run(steps, until=0)
    conversation.desk.wait_for(
        "close", lambda now: now.state == ticket.TICKET_STATE_CLOSED, CLOSE_TIMEOUT_S
    )
    time.sleep(SETTLE_S)
    return record(conversation)


def all_down_5_to_40(cluster: Cluster) -> tuple[Recording, Outage]:
    """Everything is down until after the close was due. Five times as fast."""
    seconds = Fraction(1, 5)
    outage = Outage()
    desk = Desk(cluster.addresses, 1, policy(seconds))
    steps = (
        writes("agent", 0),
        Step(5, lambda _: cluster.kill(), NEVER_LATE),
        Step(40, lambda _: outage.end(cluster.start), NEVER_LATE),
    )
    return play_out(Play(desk, seconds), steps), outage


def all_down_5_to_27(cluster: Cluster) -> tuple[Recording, Outage]:
    """Everything is down until between warning and close. A warning moves the close only when it is
    more than a real second late, and the start takes its time, so this is played no faster than
    5:3."""
    seconds = Fraction(3, 5)
    cluster.kill()
    killed_us = now_us()
    start_units = (cluster.start() - killed_us) / 1e6 / float(seconds)
    for attempt in range(1, ATTEMPTS + 1):
        outage = Outage()

        def end(_: Play, outage: Outage = outage) -> None:
            outage.end(cluster.start)

        desk = Desk(cluster.addresses, attempt, policy(seconds))
        steps = (
            writes("agent", 0),
            Step(5, lambda _: cluster.kill(), NEVER_LATE),
            # Begun such that it ends there or a little later. At 26.7 the warning is a second late.
            Step(max(25.1, 27.5 - start_units), end, NEVER_LATE),
        )
        recording = play_out(Play(desk, seconds), steps)
        warned_us = recording.happened[1].event_us if len(recording.happened) > 1 else 0
        is_between = (
            recording.play.instant_us(25) + 1_000_000 < warned_us < recording.play.instant_us(30)
        )
        if is_between or attempt == ATTEMPTS:
            # When no start hit the gap, the last is judged: the same must hold on both sides of
            # the close.
            return recording, outage
    raise AssertionError("not reached")


def notification_down_20_to_60(services: SeparateServices) -> tuple[Recording, Outage]:
    """Only notification is down: the warning waits, and the close for the warning. Five times as
    fast."""
    seconds = Fraction(1, 5)
    outage = Outage()
    desk = Desk(services.addresses, 1, policy(seconds))
    steps = (
        writes("agent", 0),
        Step(20, lambda _: services.kill_service("notification")),
        shows(22.5, RED),
        # Long after the close was due: nobody is closed unwarned.
        shows(55, RED),
        Step(60, lambda _: outage.end(lambda: services.start_service("notification")), NEVER_LATE),
    )
    return play_out(Play(desk, seconds), steps), outage


class OutageTest(unittest.TestCase):
    """Plays the three outages at the same time, each on a cluster of its own."""

    played: dict[str, Future[tuple[Recording, Outage]]]

    @classmethod
    def setUpClass(cls) -> None:
        scenarios = (
            (Cluster, all_down_5_to_40),
            (Cluster, all_down_5_to_27),
            (SeparateServices, notification_down_20_to_60),
        )
        with ThreadPoolExecutor(len(scenarios)) as threads:
            cls.played = {}
            for make, scenario in scenarios:
                cls.played[scenario.__name__] = threads.submit(on_a_cluster, make, scenario)

    def test_everything_down_5_to_40(self) -> None:
        self.check_all_down(*self.played["all_down_5_to_40"].result())

    def test_everything_down_5_to_27(self) -> None:
        self.check_all_down(*self.played["all_down_5_to_27"].result())

    def test_notification_down_20_to_60(self) -> None:
        recording, outage = self.played["notification_down_20_to_60"].result()
        self.assertEqual(
            [(each.what, each.cycle) for each in recording.happened],
            [("yellow", 1), ("red", 1), ("warning", 1), ("closed", 1)],
        )
        for happened, at in zip(recording.happened[:3], (10, 20, 25), strict=True):
            self.check_due(recording, happened.due_us, at)
            check_on_time(self, happened)
        self.check_warning_and_close(recording, outage)

    def check_all_down(self, recording: Recording, outage: Outage) -> None:
        """Red and the warning in one go when the cluster is up again, no yellow, and then the
        close."""
        self.assertEqual(
            [(each.what, each.cycle) for each in recording.happened],
            [("red", 1), ("warning", 1), ("closed", 1)],
        )
        red, warning, _ = recording.happened
        self.check_due(recording, red.due_us, 20)
        self.check_due(recording, warning.due_us, 25)
        self.assertEqual(red.event_us, warning.event_us, "in one go")
        self.assertGreaterEqual(red.event_us, outage.start_us)
        self.assertLessEqual(red.event_us, outage.serving_us + RECOVERY_MAX_US)
        self.check_warning_and_close(recording, outage)

    def check_due(self, recording: Recording, due_us: int, at: float) -> None:
        """The stage was due where the table has it, though it acted later."""
        late_us = due_us - recording.play.instant_us(at)
        self.assertTrue(0 <= late_us <= ROUNDING_US, f"due {late_us} µs after {at}")

    def check_warning_and_close(self, recording: Recording, outage: Outage) -> None:
        """The warning was accepted as soon as it could be, and the close came five of the table's
        seconds later."""
        check_messages(self, recording, ["WARNING", "CLOSING_TEXT"])
        accepted_us = to_us(recording.messages[0].accept_time)
        self.assertGreaterEqual(accepted_us, outage.start_us)
        self.assertLessEqual(accepted_us, outage.serving_us + RECOVERY_MAX_US)

        closed = recording.happened[-1]
        moved_us = accepted_us + round(5 * recording.play.seconds * 1_000_000)
        self.assertGreaterEqual(closed.due_us, moved_us)
        self.assertLessEqual(closed.due_us, moved_us + ROUNDING_US)
        check_on_time(self, closed)

        check_events(self, recording)
        check_closed(self, recording)
        check_conversation(self, recording, ("agent", "WARNING", "CLOSING_TEXT"))


def on_a_cluster(
    make: Callable[[], Cluster | SeparateServices],
    scenario: Callable[..., tuple[Recording, Outage]],
) -> tuple[Recording, Outage]:
    """Plays on a new cluster, which must end well, too."""
    cluster = make()
    try:
        cluster.start()
        return scenario(cluster)
    finally:
        cluster.stop()


if __name__ == "__main__":
    unittest.main()

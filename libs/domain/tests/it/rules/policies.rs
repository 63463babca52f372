//! Rules 12, 13 and 15: which policy counts, business time, and what is told about it.

use plazo_model::{Anchor, OpenMinutes, Policy, START_MINUTE_OF_WEEK};

use crate::tables::{TestDesk, close, desk, empty_policy, example, example_policy, policy};

fn doubled() -> Policy {
    policy(|policy| {
        policy.alerts = Some((20, 40));
        close(policy).after_s = 60;
        close(policy).warn_after_s = Some(50);
    })
}

fn short() -> Policy {
    policy(|policy| {
        policy.alerts = Some((4, 8));
        close(policy).after_s = 15;
        close(policy).warn_after_s = Some(12);
    })
}

#[test]
fn rule_12_the_queue_overrides_the_bot() {
    let mut desk = example().with([doubled()]);
    desk.settings.queues[0] = Some(short());
    for (why, story, follows) in [
        (
            "the queue's own policy",
            "transfer 0, agent 1",
            "yellow 5, red 9, warning 13, closed 16",
        ),
        (
            "a queue without one goes by the bot's",
            "transfer 0 1, agent 1",
            "yellow 11, red 21, warning 26, closed 31",
        ),
        (
            "a change of the bot's does not reach it",
            "transfer 0, agent 1, settings 3 0 applied",
            "yellow 5, red 9, warning 13, closed 16",
        ),
        (
            "a change of the queue's does",
            "transfer 0, agent 1, queue-settings 3 0 applied",
            "yellow 21, red 41, warning 51, closed 61",
        ),
        (
            "removed: the bot's policy counts for new cycles",
            "transfer 0, agent 1, queue-settings 3 none, agent 4",
            "yellow 14, red 24, warning 29, closed 34",
        ),
        (
            "removed and applied: an older version of the bot's counts at once",
            "transfer 0, agent 1, queue-settings 3 none applied",
            "yellow 11, red 21, warning 26, closed 31",
        ),
        (
            "a change of another queue does not matter",
            "transfer 0 1, agent 1, queue-settings 3 0 applied",
            "yellow 11, red 21, warning 26, closed 31",
        ),
    ] {
        desk.shows(why, story, follows);
    }
}

#[test]
fn rule_12_a_change_applies_to_new_cycles() {
    let desk = example().with([doubled(), empty_policy()]);
    for (why, story, follows) in [
        (
            "the running one goes on",
            "agent 0, settings 5 0",
            "yellow 10, red 20, warning 25, closed 30",
        ),
        (
            "the next one goes by it",
            "agent 0, settings 5 0, agent 8",
            "yellow 28, red 48, warning 58, closed 68",
        ),
        (
            "a hold's end starts a new one",
            "agent 0, hold 5 10, settings 8 0",
            "hold over 15, yellow 35, red 55, warning 65, closed 75",
        ),
        (
            "no stage at all",
            "agent 0, settings 12 1, agent 13",
            "yellow 10",
        ),
        (
            "what a warning moves goes by the cycle's own policy",
            "agent 0, settings 22 0, notification-down 20 60",
            "yellow 10, red 20, warning 60, closed 65",
        ),
    ] {
        desk.shows(why, story, follows);
    }
}

#[test]
fn rule_12_applied_to_open_tickets() {
    let first = policy(|policy| policy.anchor = Anchor::First);
    let of_both = |bot: Policy| {
        desk(bot).with([
            doubled(),
            empty_policy(),
            short(),
            example_policy(),
            first.clone(),
        ])
    };
    for (why, story, follows) in [
        (
            "recomputed from the same anchor",
            "agent 0, settings 12 0 applied",
            "yellow 10, red 40, warning 50, closed 60",
        ),
        (
            "what has become due acts at once, the highest alone",
            "agent 0, settings 9 2 applied",
            "red 9, warning 12, closed 15",
        ),
        (
            "a close that has become due still needs its warning",
            "agent 0, settings 21 2 applied",
            "yellow 10, red 20, warning 21, closed 24",
        ),
        (
            "the warning that went out counts",
            "agent 0, settings 27 0 applied",
            "yellow 10, red 20, warning 25, closed 60",
        ),
        (
            "no stage is left: the cycle ends and the alert stays",
            "agent 0, settings 12 1 applied, customer 40",
            "yellow 10, cleared 40",
        ),
        (
            "on hold: left out, and in force when the hold ends",
            "agent 0, hold 5 10, settings 8 0 applied",
            "hold over 15, yellow 35, red 55, warning 65, closed 75",
        ),
        (
            "closed: nothing counts",
            "agent 0, close 5, settings 8 0 applied",
            "",
        ),
    ] {
        of_both(example_policy()).shows(why, story, follows);
    }
    of_both(example_policy()).shows(
        "a running cycle keeps its anchor setting: the next message restarts it, under the new settings",
        "agent 0, settings 5 4, agent 8, agent 12",
        "yellow 18, red 28, warning 33, closed 38",
    );
    for (why, story, follows) in [
        (
            "where nothing counted, from the last unanswered message",
            "agent 0, agent 4, settings 12 3 applied",
            "yellow 14, red 24, warning 29, closed 34",
        ),
        (
            "or from the first",
            "agent 0, agent 4, settings 12 4 applied",
            "yellow 12, red 20, warning 25, closed 30",
        ),
        (
            "the customer's turn is over",
            "agent 0, customer 4, settings 12 3 applied",
            "",
        ),
        (
            "nobody is waited for after a transfer",
            "agent 0, transfer 4, settings 12 3 applied",
            "",
        ),
    ] {
        of_both(empty_policy()).shows(why, story, follows);
    }
    of_both(example_policy()).shows_cycles(
        "number and anchor stay; what begins gets the next number",
        "agent 0, settings 5 0 applied, settings 6 1 applied, settings 7 3 applied",
        "1 silent 0 v1, 2 silent 0 v4",
    );
}

/// Open until second 40, closed until second 100, and open from then on.
fn in_business_time(change: impl FnOnce(&mut Policy)) -> TestDesk {
    let mut desk = desk(policy(|policy| {
        policy.in_business_time = true;
        change(policy);
    }));
    let minutes = |from, until| OpenMinutes {
        from: START_MINUTE_OF_WEEK + from,
        until: START_MINUTE_OF_WEEK + until,
    };
    desk.settings.week = vec![minutes(-2, 1), minutes(2, 60)];
    desk
}

#[test]
fn rule_13_business_time() {
    for (why, story, follows) in [
        (
            "all open",
            "agent 0",
            "yellow 10, red 20, warning 25, closed 30",
        ),
        (
            "the closed time does not count",
            "agent 25",
            "yellow 35, red 105, warning 110, closed 115",
        ),
        (
            "an anchor in closed time",
            "agent 45",
            "yellow 110, red 120, warning 125, closed 130",
        ),
        (
            "due with the last open instant, not with the next one",
            "agent 30",
            "yellow 40, red 110, warning 115, closed 120",
        ),
        (
            "a late warning moves the close by open time",
            "agent 10, notification-down 30 38",
            "yellow 20, red 30, warning 38, closed 103",
        ),
        (
            "after a hold",
            "agent 0, hold 5, resume 60",
            "yellow 110, red 120, warning 125, closed 130",
        ),
    ] {
        in_business_time(|_| ()).shows(why, story, follows);
    }
    in_business_time(|policy| policy.agent_alerts = Some((5, 15))).shows(
        "the agent's side too",
        "customer 30",
        "agent yellow 35, agent red 105",
    );
    in_business_time(|policy| close(policy).max_delivery_wait_s = Some(62)).shows(
        "the longest wait for a delivery is wall-clock time",
        "agent 15",
        "yellow 25, red 35, warning 40, closed 107",
    );
}

#[test]
fn rule_15_what_fired_tells_when_it_was_due() {
    for (why, story, follows) in [
        (
            "on time",
            "agent 0, customer 21",
            "First of 1 v1 due 10 at 10, Second of 1 v1 due 20 at 20",
        ),
        (
            "late",
            "agent 0, down 5 40",
            "Second of 1 v1 due 20 at 40, Warning of 1 v1 due 25 at 40, Close of 1 v1 due 45 at 45",
        ),
        (
            "a close that a late warning has moved",
            "agent 0, down 20.5 33, customer 60",
            "First of 1 v1 due 10 at 10, Second of 1 v1 due 20 at 20, \
             Warning of 1 v1 due 25 at 33, Close of 1 v1 due 38 at 38",
        ),
        (
            "the next cycle",
            "agent 0, agent 12, customer 23",
            "First of 1 v1 due 10 at 10, First of 2 v1 due 22 at 22",
        ),
        (
            "by the version that was applied",
            "agent 0, settings 12 0 applied, customer 41",
            "First of 1 v1 due 10 at 10, Second of 1 v2 due 40 at 40",
        ),
        (
            "counted from the end of a hold that was noticed late",
            "agent 0, hold 5 10, down 12 33, customer 36",
            "First of 2 v1 due 25 at 33, Second of 2 v1 due 35 at 35",
        ),
    ] {
        example()
            .with([doubled()])
            .shows_firings(why, story, follows);
    }
}

#[test]
fn rule_12_what_a_change_made_due_is_late_from_then_on() {
    let excluding = policy(|policy| close(policy).exclude_tags = vec![1]);
    let agents = policy(|policy| policy.agent_alerts = Some((5, 9)));
    for (why, bot, story, follows) in [
        (
            "shorter settings",
            doubled(),
            "agent 0, settings 15 0 applied, customer 16",
            "First of 1 v2 due 10 since 15 at 15",
        ),
        (
            "what comes after that is due when it is due",
            doubled(),
            "agent 0, settings 15 0 applied, customer 21",
            "First of 1 v2 due 10 since 15 at 15, Second of 1 v2 due 20 at 20",
        ),
        (
            "nobody looked for a while after it",
            doubled(),
            "agent 0, settings 15 0 applied, down 14 19, customer 20",
            "First of 1 v2 due 10 since 15 at 19",
        ),
        (
            "overdue before it: late from its own instant",
            short(),
            "agent 0, settings 8 0 applied, down 2 15, customer 16",
            "First of 1 v2 due 10 at 15",
        ),
        (
            "something was overdue before it",
            doubled(),
            "agent 0, settings 32 0 applied, down 15 33, customer 34",
            "Second of 1 v2 due 20 at 33, Warning of 1 v2 due 25 at 33",
        ),
        (
            "a cycle that began with it",
            example_policy(),
            "agent 0, customer 1, settings 9 1 applied, transfer 11",
            "First of 2 v2 due 6 since 9 at 9, Second of 2 v2 due 10 at 10",
        ),
        (
            "a tag that was removed",
            excluding,
            "agent 0, tag 1, untag 27, customer 28",
            "First of 1 v1 due 10 at 10, Second of 1 v1 due 20 at 20, Warning of 1 v1 due 25 since 27 at 27",
        ),
    ] {
        let others = [example_policy(), agents.clone()];
        desk(bot).with(others).shows_firings(why, story, follows);
    }
}

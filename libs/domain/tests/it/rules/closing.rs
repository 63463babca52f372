//! Rules 7-9 and 11: the close, its warning, outages, and lateness.

use plazo_model::{Anchor, Report};

use crate::tables::{TestDesk, close, desk, example, policy};

pub(super) fn closes_unattended() -> TestDesk {
    desk(policy(|policy| {
        close(policy).only_after_first_agent_message = false;
    }))
}

fn closes_while_waiting(anchor: Anchor) -> TestDesk {
    desk(policy(|policy| {
        policy.anchor = anchor;
        close(policy).while_customer_waits = true;
    }))
}

#[test]
fn rule_7_tickets_without_an_agents_message() {
    for (why, story, follows) in [
        ("from the opening", "", "warning 25, closed 30"),
        (
            "the bot's messages don't count",
            "system 5",
            "warning 25, closed 30",
        ),
        (
            "from the customer's last message",
            "customer 5, customer 8",
            "warning 33, closed 38",
        ),
        (
            "the first message of an agent starts the usual cycle",
            "agent 4",
            "yellow 14, red 24, warning 29, closed 34",
        ),
        (
            "once an agent has written they don't count",
            "customer 3, agent 4, customer 6",
            "",
        ),
        ("a transfer disarms it", "transfer 5", ""),
        (
            "until the customer writes",
            "transfer 5, customer 7",
            "warning 32, closed 37",
        ),
        (
            "a hold restarts it",
            "hold 5 10",
            "hold over 15, warning 40, closed 45",
        ),
        (
            "closed and reopened, nobody is waited for",
            "close 5, reopen 6",
            "",
        ),
    ] {
        closes_unattended().shows(why, story, follows);
    }
}

#[test]
fn rule_7_tickets_whose_customer_waits() {
    for anchor in [Anchor::Last, Anchor::First] {
        for (why, story, follows) in [
            (
                "from the customer's word",
                "agent 0, customer 5",
                "warning 30, closed 35",
            ),
            (
                "each word starts anew, whatever the anchor",
                "agent 0, customer 5, customer 9",
                "warning 34, closed 39",
            ),
            ("not before an agent has written", "customer 5", ""),
            (
                "the agent's word starts the usual cycle",
                "agent 0, customer 5, agent 9",
                "yellow 19, red 29, warning 34, closed 39",
            ),
            (
                "after a hold from its end",
                "agent 0, customer 5, hold 6 10",
                "hold over 16, warning 41, closed 46",
            ),
            (
                "in a ticket that he reopens",
                "agent 0, close 5, customer 7",
                "warning 32, closed 37",
            ),
        ] {
            closes_while_waiting(anchor).shows(why, story, follows);
        }
    }
}

#[test]
fn rule_7_excluded_tickets_are_neither_warned_nor_closed() {
    let excludes = desk(policy(|policy| close(policy).exclude_tags.push(1)));
    for (why, story, follows) in [
        ("from the start", "tag 5, agent 6", "yellow 16, red 26"),
        (
            "another tag",
            "other-tag 5, agent 6",
            "yellow 16, red 26, warning 31, closed 36",
        ),
        (
            "warned, but not closed",
            "agent 0, tag 26",
            "yellow 10, red 20, warning 25",
        ),
        (
            "closed as soon as the tag is gone",
            "agent 0, tag 26, untag 40",
            "yellow 10, red 20, warning 25, closed 40",
        ),
        (
            "a cycle that starts meanwhile",
            "agent 0, tag 22, agent 24, untag 26",
            "yellow 10, red 20, first 34, red 44, warning 49, closed 54",
        ),
        (
            "a tag that comes and goes before the warning",
            "agent 0, tag 5, untag 24.5",
            "yellow 10, red 20, warning 25, closed 30",
        ),
    ] {
        excludes.shows(why, story, follows);
    }
}

#[test]
fn rule_8_nobody_is_closed_unwarned() {
    for (why, story, follows) in [
        (
            "accepted within a second is on time",
            "agent 0, notification-down 25 26",
            "yellow 10, red 20, warning 26, closed 30",
        ),
        (
            "later than that moves the close",
            "agent 0, notification-down 25 26.5",
            "yellow 10, red 20, warning 26.5, closed 31.5",
        ),
        (
            "however long it takes",
            "agent 0, notification-down 20 150",
            "yellow 10, red 20, warning 150, closed 155",
        ),
        (
            "the acceptance of an earlier cycle's warning is none of this one",
            "agent 0, notification-down 25 40, agent 27",
            "yellow 10, red 20, warning 40, first 37, red 47, warning 52, closed 57",
        ),
        (
            "an answer comes before the acceptance",
            "agent 0, customer 26, notification-down 25 26",
            "yellow 10, red 20, warning 26, cleared 26",
        ),
    ] {
        example().shows(why, story, follows);
    }
    desk(policy(|policy| close(policy).warn_after_s = None)).shows(
        "without a warning notification does not matter",
        "agent 0, notification-down 5 90",
        "yellow 10, red 20, closed 30",
    );
}

#[test]
fn rule_8_a_close_that_needs_the_delivery() {
    let needs_delivery = || {
        desk(policy(|policy| {
            close(policy).max_delivery_wait_s = Some(10);
        }))
    };
    for (why, settled_after, story, follows) in [
        (
            "delivered on time",
            Some(1),
            "agent 0",
            "yellow 10, red 20, warning 25, closed 30",
        ),
        (
            "delivered or failed late",
            Some(3),
            "agent 0",
            "yellow 10, red 20, warning 25, closed 33",
        ),
        (
            "never heard of: after the longest wait",
            None,
            "agent 0",
            "yellow 10, red 20, warning 25, closed 40",
        ),
        (
            "later than the longest wait",
            Some(14),
            "agent 0",
            "yellow 10, red 20, warning 25, closed 40",
        ),
        (
            "the wait counts from the acceptance",
            None,
            "agent 0, notification-down 20 60",
            "yellow 10, red 20, warning 60, closed 75",
        ),
        (
            "accepted late and delivered later",
            Some(2),
            "agent 0, notification-down 20 60",
            "yellow 10, red 20, warning 60, closed 67",
        ),
    ] {
        let mut desk = needs_delivery();
        if let Some(seconds) = settled_after {
            desk = desk.settled_after(seconds);
        }
        desk.shows(why, story, follows);
    }
    example().settled_after(8).shows(
        "else the delivery does not matter",
        "agent 0",
        "yellow 10, red 20, warning 25, closed 30",
    );
}

#[test]
fn rule_9_after_an_outage() {
    for (why, story, follows) in [
        (
            "only yellow is due",
            "agent 0, down 5 12",
            "yellow 12, red 20, warning 25, closed 30",
        ),
        (
            "red without yellow",
            "agent 0, down 5 22",
            "red 22, warning 25, closed 30",
        ),
        (
            "a second late is on time",
            "agent 0, down 5 26",
            "red 26, warning 26, closed 30",
        ),
        (
            "long past everything",
            "agent 0, down 5 100",
            "red 100, warning 100, closed 105",
        ),
        (
            "warned before it, closed after it",
            "agent 0, down 26 50",
            "yellow 10, red 20, warning 25, closed 50",
        ),
        (
            "notification is down for longer",
            "agent 0, down 5 40, notification-down 30 60",
            "red 40, warning 60, closed 65",
        ),
        (
            "the agent wrote meanwhile",
            "agent 0, down 5 40, agent 20",
            "red 40, warning 45, closed 50",
        ),
        (
            "the customer wrote meanwhile",
            "agent 0, down 5 40, customer 20",
            "",
        ),
    ] {
        example().shows(why, story, follows);
    }
    desk(policy(|policy| close(policy).warn_after_s = None)).shows(
        "without a warning the close acts alone",
        "agent 0, down 5 100",
        "closed 100",
    );
}

#[test]
fn rule_11_never_early_never_lost_once() {
    let undisturbed = "yellow 10, red 20, warning 25, closed 30";
    let with_report = |report: Report| TestDesk {
        report,
        ..example()
    };
    for (why, report, story, follows) in [
        (
            "an outage that ends in time",
            Report::PROMPT,
            "agent 0, down 9 10",
            undisturbed,
        ),
        (
            "an outage at each stage",
            Report::PROMPT,
            "agent 0, down 9.5 11, down 19.5 21, down 24.5 25.5, down 29 33",
            "yellow 11, red 21, warning 25.5, closed 33",
        ),
        (
            "a report that comes twice",
            Report {
                repeated_after: Some(3),
                ..Report::PROMPT
            },
            "agent 0",
            undisturbed,
        ),
        (
            "a report that comes late brings the close forward",
            Report {
                delay: 20,
                ..Report::PROMPT
            },
            "agent 0",
            "yellow 10, red 20, warning 25, closed 35",
        ),
        (
            "a report from a clock that is ahead counts from its arrival",
            Report {
                ahead: 20,
                delay: 4,
                ..Report::PROMPT
            },
            "agent 0",
            "yellow 10, red 20, warning 35, closed 32",
        ),
    ] {
        with_report(report).shows(why, story, follows);
    }
}

//! Rules 7-11: the close, its warning, outages, ties, and lateness.

use plazo_model::{Anchor, Pause, Report, State};

use crate::tables::{TestDesk, close, desk, example, policy};

fn closes_unattended() -> TestDesk {
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
fn rule_10_a_reply_against_the_close() {
    const CLOSED: &str = "yellow 10, red 20, warning 25, closed 30";
    for (why, story, follows) in [
        (
            "committed before the close",
            "agent 0, customer 30",
            "yellow 10, red 20, warning 25, cleared 30",
        ),
        (
            "written before, arrived after",
            "agent 0, customer 31 written 29",
            "yellow 10, red 20, warning 25, closed 30, superseded 31",
        ),
        (
            "whole seconds count for the customer",
            "agent 0, customer 31 written 30",
            "yellow 10, red 20, warning 25, closed 30, superseded 31",
        ),
        (
            "written after the close",
            "agent 0, customer 31 written 30.5",
            CLOSED,
        ),
        ("the channel tells no time", "agent 0, customer 31", CLOSED),
        (
            "a time in the future",
            "agent 0, customer 31 written 99",
            CLOSED,
        ),
        (
            "a time before the ticket",
            "agent 0, customer 31 written -5",
            CLOSED,
        ),
        (
            "at the end of the grace",
            "agent 0, customer 90 written 29",
            "yellow 10, red 20, warning 25, closed 30, superseded 90",
        ),
        (
            "after the grace",
            "agent 0, customer 90.5 written 29",
            CLOSED,
        ),
        (
            "a close by an agent stands",
            "agent 0, close 5, customer 6 written 4",
            "",
        ),
        (
            "somebody has reopened it meanwhile",
            "agent 0, reopen 31, customer 32 written 29",
            CLOSED,
        ),
        (
            "the next message of the agent starts the next cycle",
            "agent 0, customer 31 written 29, agent 40, customer 45",
            "yellow 10, red 20, warning 25, closed 30, superseded 31",
        ),
    ] {
        example().shows(why, story, follows);
    }
    desk(policy(|policy| close(policy).after_s = 31)).shows(
        "an exact time that equals a close at half a second is not before it",
        "agent 0.5, customer 40 written 31.5",
        "yellow 10.5, red 20.5, warning 25.5, closed 31.5",
    );
}

#[test]
fn rule_10_the_ticket_is_again_as_it_was() {
    let mut waiting = closes_unattended();
    waiting.settings.opens_with_agent = false;
    for (why, desk, story, state) in [
        (
            "it was open",
            example(),
            "agent 0, customer 31 written 29",
            State::Open,
        ),
        (
            "it was open without an agent",
            example(),
            "transfer 0, agent 1, customer 32 written 30",
            State::Open,
        ),
        (
            "it was waiting",
            waiting,
            "customer 31 written 29, hold 32",
            State::Waiting,
        ),
        (
            "its agent is away: it is open all the same",
            example(),
            "agent 0, away 5, customer 31 written 29",
            State::Open,
        ),
        (
            "which differs from a reply to the close",
            example(),
            "agent 0, away 5, customer 31",
            State::Waiting,
        ),
    ] {
        let is_superseded = story.contains("written");
        desk.ends(why, story, state);
        let pauses = if is_superseded || state == State::Waiting {
            "paused 0 to 3600, resumed 30, paused 31 to 3631"
        } else {
            "paused 0 to 3600, resumed 30"
        };
        if !story.contains("transfer") {
            desk.shows_automation(why, story, pauses);
        }
    }
}

#[test]
fn rule_10_the_pause_that_the_close_ended_goes_on() {
    let mut desk = example();
    desk.settings.automation_pause = Pause::ForSeconds(40);
    for (why, story, follows) in [
        (
            "the bot's is longer",
            "agent 0, customer 31 written 29",
            "paused 0 to 40, resumed 30, paused 31 to 71, resumed 71",
        ),
        (
            "the one before was longer",
            "agent 0, pause 5 100, customer 31 written 29",
            "paused 0 to 40, paused 5 to 105, resumed 30, paused 31 to 105, resumed 105",
        ),
        (
            "until completed",
            "agent 0, pause-until-completed 5, customer 31 written 29, close 90",
            "paused 0 to 40, paused 5, resumed 30, paused 31, resumed 90",
        ),
        (
            "it would be over by now",
            "agent 0, resume-automation 1, pause 5 26, customer 32 written 29",
            "paused 0 to 40, resumed 1, paused 5 to 31, resumed 30, paused 32 to 72, resumed 72",
        ),
        (
            "there was none",
            "agent 0, resume-automation 1, customer 31 written 29",
            "paused 0 to 40, resumed 1, paused 31 to 71, resumed 71",
        ),
        (
            "the close stands: so does the end of its pause",
            "agent 0, pause-until-completed 5, customer 31",
            "paused 0 to 40, paused 5, resumed 30, paused 31 to 71, resumed 71",
        ),
    ] {
        desk.shows_automation(why, story, follows);
    }
}

#[test]
fn rule_10_who_opened_it_first_decides() {
    let stands = "yellow 10, red 20, warning 25, closed 30";
    for (why, story) in [
        (
            "the reopen button",
            "agent 0, reopen 31, customer 32 written 29",
        ),
        (
            "an agent's message",
            "agent 0, agent 31, customer 32 written 29",
        ),
        (
            "an assignment",
            "agent 0, assign 31, customer 32 written 29",
        ),
        (
            "an action block",
            "agent 0, set-open 31, customer 32 written 29",
        ),
        (
            "another reply",
            "agent 0, customer 31 written 30.5, customer 32 written 29",
        ),
    ] {
        example().shows(why, story, stands);
        example().ends(why, story, State::Open);
    }
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

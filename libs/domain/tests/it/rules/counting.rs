//! Rules 1-6: what starts and stops a cycle, its stages and the alert that shows.

use plazo_model::Anchor;

use crate::tables::{close, desk, empty_policy, example, policy};

const UNDISTURBED: &str = "yellow 10, red 20, warning 25, closed 30";

#[test]
fn rule_1_an_agents_message_starts() {
    for (why, story, follows) in [
        (
            "from the message, whenever that is",
            "agent 3.5",
            "yellow 13.5, red 23.5, warning 28.5, closed 33.5",
        ),
        ("nobody has written", "", ""),
        ("a customer's message starts nothing", "customer 3", ""),
        (
            "each further message starts anew",
            "agent 0, agent 4, agent 8",
            "yellow 18, red 28, warning 33, closed 38",
        ),
        (
            "also in a closed ticket",
            "agent 0, close 5, agent 40",
            "yellow 50, red 60, warning 65, closed 70",
        ),
        (
            "at the very instant of a stage the message is first",
            "agent 0, agent 10",
            "yellow 20, red 30, warning 35, closed 40",
        ),
    ] {
        example().shows(why, story, follows);
    }
    example().shows_cycles(
        "each start has its number",
        "agent 0, agent 8, customer 9, agent 11",
        "1 silent 0 v1, 2 silent 8 v1, 3 silent 11 v1",
    );
}

#[test]
fn rule_1_with_first_message_the_first_unanswered_one_counts() {
    let first = desk(policy(|policy| policy.anchor = Anchor::First));
    for (why, story, follows) in [
        (
            "further ones do nothing",
            "agent 0, agent 9, agent 24",
            UNDISTURBED,
        ),
        (
            "an answer ends the count",
            "agent 0, customer 5, agent 7, agent 12",
            "yellow 17, red 27, warning 32, closed 37",
        ),
        (
            "so does a close",
            "agent 0, close 5, agent 7, agent 9",
            "yellow 17, red 27, warning 32, closed 37",
        ),
        (
            "and a transfer",
            "agent 0, transfer 5, agent 7, agent 9",
            "yellow 17, red 27, warning 32, closed 37",
        ),
        (
            "a hold restarts it, and messages in the hold don't count",
            "agent 0, hold 5, agent 8, resume 10, agent 12",
            "yellow 20, red 30, warning 35, closed 40",
        ),
    ] {
        first.shows(why, story, follows);
    }
    first.shows_cycles("one cycle, one number", "agent 0, agent 9", "1 silent 0 v1");
}

#[test]
fn rule_2_a_customers_message_stops() {
    for (why, story, follows) in [
        ("before any stage", "agent 0, customer 9.5", ""),
        ("at the instant of a stage", "agent 0, customer 10", ""),
        (
            "red goes too",
            "agent 0, customer 22",
            "yellow 10, red 20, cleared 22",
        ),
        (
            "after the warning",
            "agent 0, customer 27",
            "yellow 10, red 20, warning 25, cleared 27",
        ),
        (
            "each round anew",
            "agent 0, customer 12, agent 15, customer 26",
            "yellow 10, cleared 12, yellow 25, cleared 26",
        ),
        (
            "a second answer stops nothing more",
            "agent 0, customer 12, customer 14",
            "yellow 10, cleared 12",
        ),
        (
            "the ticket stays open for the next message of the agent",
            "agent 0, customer 12, agent 100",
            "yellow 10, cleared 12, yellow 110, red 120, warning 125, closed 130",
        ),
    ] {
        example().shows(why, story, follows);
    }
}

#[test]
fn rule_3_what_is_no_activity() {
    for (why, story, follows) in [
        (
            "the bot or the system writes",
            "agent 0, system 5",
            UNDISTURBED,
        ),
        (
            "a note just before the close",
            "agent 0, note 29.5",
            UNDISTURBED,
        ),
        ("a tag", "agent 0, tag 9, untag 12", UNDISTURBED),
        (
            "none of them answers the customer",
            "agent 0, customer 12, system 13, note 14",
            "yellow 10, cleared 12",
        ),
        ("none of them is an agent's message", "system 3, note 4", ""),
        ("assigning is no message", "agent 0, assign 9", UNDISTURBED),
        (
            "nor is the block that sets open",
            "agent 0, set-open 9",
            UNDISTURBED,
        ),
    ] {
        example().shows(why, story, follows);
    }
    example()
        .settled_after(2)
        .shows("a delivery receipt", "agent 0", UNDISTURBED);
}

#[test]
fn rule_4_all_stages_count_from_one_anchor() {
    for (why, alerts, warning, closes, follows) in [
        (
            "red after the warning",
            Some((5, 30)),
            Some(25),
            40,
            "yellow 5, warning 25, red 30, closed 40",
        ),
        (
            "the warning first of all",
            Some((10, 20)),
            Some(1),
            30,
            "warning 1, yellow 10, red 20, closed 30",
        ),
        ("no alerts", None, Some(25), 30, "warning 25, closed 30"),
        (
            "no warning",
            Some((10, 20)),
            None,
            30,
            "yellow 10, red 20, closed 30",
        ),
        ("only a close", None, None, 30, "closed 30"),
    ] {
        let desk = desk(policy(|policy| {
            policy.alerts = alerts;
            close(policy).warn_after_s = warning;
            close(policy).after_s = closes;
        }));
        desk.shows(why, "agent 0", follows);
    }
    desk(policy(|policy| policy.close = None)).shows(
        "alerts alone never close",
        "agent 0, agent 50",
        "yellow 10, red 20, first 60, red 70",
    );
    example().shows(
        "a late stage moves no other",
        "agent 0, down 5 15",
        "yellow 15, red 20, warning 25, closed 30",
    );
}

#[test]
fn rule_5_the_alert_never_falls() {
    let desk = example().with([empty_policy()]);
    for (why, story, follows) in [
        (
            "yellow stays into the next cycle",
            "agent 0, agent 12, agent 30",
            "yellow 10, yellow 22, yellow 40, red 50, warning 55, closed 60",
        ),
        (
            "red stays red under the next yellow",
            "agent 0, agent 21",
            "yellow 10, red 20, first 31, red 41, warning 46, closed 51",
        ),
        (
            "a transfer removes it",
            "agent 0, transfer 22",
            "yellow 10, red 20, cleared 22",
        ),
        (
            "a hold removes it",
            "agent 0, hold 22",
            "yellow 10, red 20, cleared 22",
        ),
        (
            "a close removes it",
            "agent 0, close 22, agent 24",
            "yellow 10, red 20, yellow 34, red 44, warning 49, closed 54",
        ),
        (
            "assigning does not",
            "agent 0, assign 22, agent 23",
            "yellow 10, red 20, first 33, red 43, warning 48, closed 53",
        ),
        (
            "settings without alerts do not; the answer does",
            "agent 0, settings 12 0 applied, customer 20",
            "yellow 10, cleared 20",
        ),
    ] {
        desk.shows(why, story, follows);
    }
}

#[test]
fn rule_6_of_two_stages_at_one_instant_the_higher_acts() {
    for (why, alerts, warning, story, follows) in [
        (
            "red gives way to the close",
            (10, 30),
            None,
            "agent 0",
            "yellow 10, closed 30",
        ),
        (
            "yellow to the warning",
            (10, 20),
            Some(10),
            "agent 0",
            "warning 10, red 20, closed 30",
        ),
        (
            "red to the warning",
            (10, 25),
            Some(25),
            "agent 0",
            "yellow 10, warning 25, closed 30",
        ),
        (
            "a close that has moved is at another instant",
            (10, 30),
            Some(25),
            "agent 0, notification-down 24 27",
            "yellow 10, warning 27, red 30, closed 32",
        ),
        (
            "what gave way is over, also when the ticket is excluded later",
            (10, 20),
            Some(10),
            "agent 0, tag 12",
            "warning 10, red 20",
        ),
        (
            "where the higher never comes, nothing gives way",
            (10, 20),
            Some(10),
            "tag 0, agent 0",
            "yellow 10, red 20",
        ),
        (
            "found late it gives way as well",
            (10, 25),
            Some(25),
            "agent 0, down 5 26",
            "yellow 26, warning 26, closed 30",
        ),
    ] {
        let desk = desk(policy(|policy| {
            policy.alerts = Some(alerts);
            close(policy).warn_after_s = warning;
            close(policy).exclude_tags.push(1);
        }));
        desk.shows(why, story, follows);
    }
}

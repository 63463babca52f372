//! Rule 14, the agent's side, and holds, which stop both sides.

use plazo_model::Anchor;

use crate::tables::{TestDesk, close, desk, example, policy};

fn both_sides() -> TestDesk {
    desk(policy(|policy| policy.agent_alerts = Some((5, 15))))
}

#[test]
fn rule_14_the_agents_side() {
    for (why, story, follows) in [
        (
            "the customer waits",
            "customer 0",
            "agent yellow 5, agent red 15",
        ),
        ("the opening is no message", "", ""),
        (
            "from the first unanswered message",
            "customer 0, customer 4",
            "agent yellow 5, agent red 15",
        ),
        (
            "an agent's message ends it",
            "customer 0, agent 7, customer 9",
            "agent yellow 5, agent cleared 7, agent yellow 14, agent red 24",
        ),
        (
            "a note does not",
            "customer 0, note 3, system 4",
            "agent yellow 5, agent red 15",
        ),
        (
            "a transfer does",
            "customer 0, transfer 7",
            "agent yellow 5, agent cleared 7",
        ),
        (
            "after it the next message is the first",
            "customer 0, transfer 7, customer 8",
            "agent yellow 5, agent cleared 7, agent yellow 13, agent red 23",
        ),
        (
            "a close does",
            "customer 0, close 7, customer 9",
            "agent yellow 5, agent yellow 14, agent red 24",
        ),
        (
            "a hold does, until it is resumed",
            "customer 0, hold 7, resume 20",
            "agent yellow 5, agent cleared 7, agent yellow 25, agent red 35",
        ),
        (
            "a message that ends a hold counts anew",
            "customer 0, hold 2, customer 6, customer 8",
            "agent yellow 11, agent red 21",
        ),
        ("late", "customer 0, down 2 20", "agent red 20"),
    ] {
        both_sides().shows(why, story, follows);
    }
    let by_both = desk(policy(|policy| {
        policy.agent_alerts = Some((5, 15));
        close(policy).while_customer_waits = true;
    }));
    by_both.shows(
        "both clocks of a waiting customer",
        "agent 0, customer 5",
        "agent yellow 10, agent red 20, warning 30, closed 35",
    );
    by_both.shows(
        "both clocks, looked at late",
        "agent 0, customer 5, down 7 60",
        "warning 60, agent red 60, closed 65",
    );
    desk(policy(|policy| {
        policy.agent_alerts = Some((5, 25));
        close(policy).while_customer_waits = true;
        close(policy).warn_after_s = None;
        close(policy).after_s = 25;
    }))
    .shows(
        "a close acts alone, whatever is due on the agent's side",
        "agent 0, customer 5",
        "agent yellow 10, closed 30",
    );
    by_both.shows_cycles(
        "one count for both sides, the customer's first",
        "agent 0, customer 5, customer 6, hold 7 10",
        "1 silent 0 v1, 2 waits 5 v1, 3 agent 5 v1, 4 waits 6 v1, 5 waits 17 v1, 6 agent 17 v1",
    );
    example()
        .with([policy(|policy| policy.agent_alerts = Some((5, 15)))])
        .shows(
            "applied to open tickets it counts from the first unanswered message",
            "customer 0, customer 4, settings 6 0 applied",
            "agent yellow 6, agent red 15",
        );
}

#[test]
fn holds_end_by_themselves() {
    for (why, story, follows) in [
        (
            "at its maximum length",
            "agent 0, hold 5 10",
            "hold over 15, yellow 25, red 35, warning 40, closed 45",
        ),
        (
            "noticed late, counted from its end",
            "agent 0, hold 5 10, down 12 36",
            "hold over 15, red 36, warning 40, closed 45",
        ),
        (
            "a new length",
            "agent 0, hold 5 10, hold 10 20",
            "hold over 30, yellow 40, red 50, warning 55, closed 60",
        ),
        (
            "an agent's message does not end it",
            "agent 0, hold 5 10, agent 8",
            "hold over 15, yellow 25, red 35, warning 40, closed 45",
        ),
        (
            "nor does assigning",
            "agent 0, hold 5 10, assign 8",
            "hold over 15, yellow 25, red 35, warning 40, closed 45",
        ),
        ("nobody had written", "hold 5 10", "hold over 15"),
        (
            "the first message of an agent, in the hold",
            "hold 5 10, agent 8",
            "hold over 15, yellow 25, red 35, warning 40, closed 45",
        ),
        ("a close ends it", "agent 0, hold 5 10, close 8", ""),
        ("a transfer ends it", "agent 0, hold 5 10, transfer 8", ""),
        (
            "a message after an end that nobody noticed",
            "agent 0, hold 5 10, down 12 50, agent 20",
            "hold over 15, red 50, warning 50, closed 55",
        ),
    ] {
        example().shows(why, story, follows);
    }
    desk(policy(|policy| policy.anchor = Anchor::First)).shows(
        "with FIRST_MESSAGE that message does not restart the clock either",
        "agent 0, hold 5 10, down 12 30, agent 20",
        "hold over 15, yellow 30, red 35, warning 40, closed 45",
    );
    both_sides().shows(
        "the customer's message after such an end is not his first unanswered one",
        "customer 0, hold 2 10, down 5 30, customer 20",
        "hold over 12, agent red 30",
    );
    example().shows_cycles(
        "such an end starts a cycle of its own",
        "agent 0, hold 5 10, down 12 30, agent 20",
        "1 silent 0 v1, 2 silent 15 v1, 3 silent 20 v1",
    );
}

//! The examples of the product's description, with their results written out.

use plazo_model::{Anchor, Policy};

use crate::tables::{close, desk, example, policy};

fn doubled() -> Policy {
    policy(|policy| {
        policy.alerts = Some((20, 40));
        close(policy).after_s = 60;
        close(policy).warn_after_s = Some(50);
    })
}

#[test]
fn the_examples_of_the_description() {
    const UNDISTURBED: &str = "yellow 10, red 20, warning 25, closed 30";
    for (story, follows) in [
        ("agent 0", UNDISTURBED),
        ("agent 0, customer 12", "yellow 10, cleared 12"),
        (
            "agent 0, customer 12, agent 15",
            "yellow 10, cleared 12, yellow 25, red 35, warning 40, closed 45",
        ),
        (
            "agent 0, agent 8",
            "yellow 18, red 28, warning 33, closed 38",
        ),
        (
            "agent 0, agent 27",
            "yellow 10, red 20, warning 25, first 37, red 47, warning 52, closed 57",
        ),
        (
            "agent 0, hold 5, resume 50",
            "yellow 60, red 70, warning 75, closed 80",
        ),
        (
            "agent 0, hold 15, customer 18, agent 20",
            "yellow 10, cleared 15, yellow 30, red 40, warning 45, closed 50",
        ),
        // Within a tick, events commit before anybody looks.
        (
            "agent 0, customer 30",
            "yellow 10, red 20, warning 25, cleared 30",
        ),
        ("agent 0, down 5 40", "red 40, warning 40, closed 45"),
        ("agent 0, down 5 27", "red 27, warning 27, closed 32"),
        (
            "agent 0, notification-down 20 60",
            "yellow 10, red 20, warning 60, closed 65",
        ),
        ("agent 0, system 9, note 9", UNDISTURBED),
        ("agent 0, transfer 15", "yellow 10, cleared 15"),
    ] {
        example().shows("as described", story, follows);
    }
}

#[test]
fn the_examples_with_other_settings() {
    desk(policy(|policy| policy.anchor = Anchor::First)).shows(
        "with FIRST_MESSAGE",
        "agent 0, agent 8",
        "yellow 10, red 20, warning 25, closed 30",
    );
    desk(policy(|policy| close(policy).exclude_tags.push(1))).shows(
        "a tag that excludes",
        "agent 0, tag 22, untag 28",
        "yellow 10, red 20, warning 28, closed 33",
    );
    let desk = example().with([doubled()]);
    desk.shows(
        "a change leaves the running cycle alone",
        "agent 0, settings 5 0",
        "yellow 10, red 20, warning 25, closed 30",
    );
    desk.shows(
        "unless it is applied",
        "agent 0, settings 5 0 applied",
        "yellow 20, red 40, warning 50, closed 60",
    );
    desk.shows(
        "what is over stays over",
        "agent 0, settings 12 0 applied",
        "yellow 10, red 40, warning 50, closed 60",
    );
}

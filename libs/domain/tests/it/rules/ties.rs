//! Rule 10: a reply and the close at the same time.

use plazo_model::{Pause, State};

use super::closing::closes_unattended;
use crate::tables::{close, desk, example, policy};

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

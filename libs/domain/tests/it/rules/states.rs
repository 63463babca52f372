//! The states of a ticket, and the pause of the automation.

use plazo_model::{Pause, State};

use crate::tables::{TestDesk, example};

#[test]
fn events_move_the_ticket() {
    let without_agent = || {
        let mut desk = example();
        desk.settings.opens_with_agent = false;
        desk
    };
    for (why, story, state) in [
        ("opened without an agent", "", State::Waiting),
        ("assigned", "assign 1", State::Open),
        ("an agent's message", "agent 1, customer 2", State::Open),
        ("set open", "set-open 1", State::Open),
        (
            "a customer's message opens nothing",
            "customer 1",
            State::Waiting,
        ),
        ("held it is as it was", "hold 1", State::Waiting),
        ("transferred", "assign 1, transfer 2", State::Waiting),
        ("completed", "close 1", State::Closed),
        ("assigned when closed", "close 1, assign 2", State::Open),
        (
            "an agent's message when closed",
            "close 1, agent 2, customer 3",
            State::Open,
        ),
        ("set open when closed", "close 1, set-open 2", State::Open),
        ("reopened", "close 1, reopen 2", State::Open),
        (
            "the customer returns, nobody is assigned",
            "close 1, customer 2",
            State::Waiting,
        ),
        (
            "the customer returns to his agent",
            "assign 0, close 1, customer 2",
            State::Open,
        ),
        (
            "who is away",
            "assign 0, away 0, close 1, customer 2",
            State::Waiting,
        ),
        ("closed by inactivity", "agent 1", State::Closed),
        ("unlinked", "agent 1, unlink 2", State::Closed),
    ] {
        without_agent().ends(why, story, state);
    }
    example().ends("opened with an agent", "", State::Open);
}

fn pauses(pause: Pause) -> TestDesk {
    let mut desk = example();
    desk.settings.automation_pause = pause;
    desk
}

#[test]
fn the_automation_pauses_while_people_are_in_charge() {
    for (why, story, follows) in [
        ("opening", "", "paused 0 to 60, resumed 60"),
        (
            "the customer does not extend it",
            "customer 10",
            "paused 0 to 60, resumed 60",
        ),
        (
            "an agent's message does",
            "agent 10, customer 11",
            "paused 0 to 60, resumed 70",
        ),
        ("assigning does", "assign 20", "paused 0 to 60, resumed 80"),
        ("set open does", "set-open 20", "paused 0 to 60, resumed 80"),
        (
            "a transfer does not",
            "transfer 20",
            "paused 0 to 60, resumed 60",
        ),
        ("nor a hold", "hold 20", "paused 0 to 60, resumed 60"),
        (
            "reopened",
            "close 20, reopen 30",
            "paused 0 to 60, resumed 20, paused 30 to 90, resumed 90",
        ),
        (
            "reopened by the customer",
            "close 20, customer 30",
            "paused 0 to 60, resumed 20, paused 30 to 90, resumed 90",
        ),
    ] {
        pauses(Pause::ForSeconds(60)).shows_automation(why, story, follows);
    }
}

#[test]
fn the_automation_resumes() {
    for (why, story, follows) in [
        ("completed", "close 20", "paused 0 to 60, resumed 20"),
        ("late", "down 50 80", "paused 0 to 60, resumed 80"),
        (
            "extended, twice",
            "pause 10 100, pause 11 100",
            "paused 0 to 60, paused 10 to 110, paused 11 to 111, resumed 111",
        ),
        (
            "never shortened",
            "pause 10 5",
            "paused 0 to 60, resumed 60",
        ),
        (
            "resumed early, twice",
            "resume-automation 10, resume-automation 11",
            "paused 0 to 60, resumed 10",
        ),
        (
            "paused again after that",
            "resume-automation 10, pause 20 5",
            "paused 0 to 60, resumed 10, paused 20 to 25, resumed 25",
        ),
        (
            "a pause that was made to last until the ticket is completed",
            "pause-until-completed 5, unlink 150",
            "paused 0 to 60, paused 5, resumed 150",
        ),
        (
            "longer by somebody and then by a message",
            "pause 10 100, agent 55, customer 56",
            "paused 0 to 60, paused 10 to 110, resumed 115",
        ),
    ] {
        pauses(Pause::ForSeconds(60)).shows_automation(why, story, follows);
    }
    for (why, story, follows) in [
        ("until completed", "customer 5", "paused 0"),
        (
            "completed by inactivity",
            "agent 0, pause 5 1",
            "paused 0, resumed 30",
        ),
        (
            "a message makes a pause with an end last until then",
            "resume-automation 5, pause 6 10, agent 8, agent 9, close 20",
            "paused 0, resumed 5, paused 6 to 16, paused 8, resumed 20",
        ),
    ] {
        pauses(Pause::UntilCompleted).shows_automation(why, story, follows);
    }
}

use serde_json::json;

use super::*;

fn claims(value: &Value) -> Claims {
    Claims::parse(value.to_string().as_bytes()).expect("an object")
}

#[test]
fn a_token_is_valid_from_its_beginning_to_its_end_with_the_leeway_on_both_sides() {
    let token = claims(&json!({"nbf": 1_000, "exp": 2_000}));
    for (now_ms, is_valid) in [
        (969_999, false),
        (970_000, true),
        (1_000_000, true),
        (2_000_000, true),
        (2_029_999, true),
        (2_030_000, false),
    ] {
        assert_eq!(
            token.check_time(now_ms, 30_000).is_ok(),
            is_valid,
            "{now_ms}"
        );
    }
    assert!(matches!(
        token.check_time(2_000_000, 0),
        Err(Refusal::TokenExpired)
    ));
    assert!(matches!(
        token.check_time(999_999, 0),
        Err(Refusal::TokenNotYetValid)
    ));
    assert_eq!(
        token.check_time(1_500_000, 30_000).expect("valid"),
        2_030_000
    );
}

#[test]
fn instants_may_have_parts_of_seconds_and_be_beyond_all_calendars() {
    let token = claims(&json!({"exp": 1_999.5}));
    assert!(token.check_time(1_999_499, 0).is_ok());
    assert!(token.check_time(1_999_500, 0).is_err());
    for exp in [json!(i64::MAX), json!(u64::MAX), json!(1e300)] {
        assert!(
            claims(&json!({"exp": exp})).check_time(0, 30_000).is_ok(),
            "{exp}"
        );
    }
    for exp in [json!(i64::MIN), json!(-1e300), json!(0)] {
        assert!(
            claims(&json!({"exp": exp}))
                .check_time(40_000, 30_000)
                .is_err(),
            "{exp}"
        );
    }
}

#[test]
fn bots_and_permissions_that_are_not_said_are_none() {
    let token = |actor: &str, bots: Value| {
        let mut all = json!({"sub": "a", "plazo_tenant": 7, "plazo_actor": actor});
        if !bots.is_null() {
            all["plazo_bots"] = bots;
        }
        claims(&all).actor().expect("an actor")
    };
    for actor in ["agent/1", "bot/1"] {
        let actor = token(actor, Value::Null);
        assert_eq!(actor.bots, BotScope::Only(Vec::new()));
        assert_eq!(actor.permissions, Permissions::NONE);
    }
    assert_eq!(token("administrator/1", Value::Null).bots, BotScope::All);
    assert_eq!(
        token("administrator/1", json!([])).bots,
        BotScope::Only(Vec::new())
    );
    assert_eq!(token("agent/1", json!("*")).bots, BotScope::All);
    assert_eq!(
        token("agent/1", json!([5, 2, 5])).bots,
        BotScope::Only(vec![2, 5])
    );
}

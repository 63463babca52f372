//! Which settings are refused, and in which words.

use jiff::civil::Weekday;
use plazo_domain::{
    Alerts, Calendar, CalendarSpec, ClosingNote, CycleKind, InactivityPolicy, OpenInterval,
    TimeUnit, TimeValue, Violation, Warning, WeeklyInterval, check_note, check_tags,
};
use proptest::prelude::*;

use crate::support::{EXAMPLE, Times, seconds};

const WITH_ROUTE: bool = true;

/// The fields that are refused when the valid example is changed by `change`.
fn refused(change: impl FnOnce(&mut InactivityPolicy)) -> Vec<String> {
    let mut policy = EXAMPLE.policy();
    change(&mut policy);
    fields(policy.check(WITH_ROUTE))
}

fn fields(result: Result<(), Vec<Violation>>) -> Vec<String> {
    let violations = result.err().unwrap_or_default();
    assert!(
        violations
            .iter()
            .all(|violation| !violation.reason.is_empty())
    );
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

fn refused_text(text: &str) -> Vec<String> {
    refused(|policy| text.clone_into(&mut warning(policy).text))
}

fn refused_url(url: &str) -> Vec<String> {
    refused(|policy| warning(policy).image_url = Some(url.to_owned()))
}

fn warning(policy: &mut InactivityPolicy) -> &mut Warning {
    policy.warning.as_mut().expect("the example warns")
}

fn auto_close(policy: &mut InactivityPolicy) -> &mut plazo_domain::AutoClose {
    policy.auto_close.as_mut().expect("the example closes")
}

#[test]
fn accepts_what_is_right() {
    let none: [String; 0] = [];
    assert_eq!(refused(|_| ()), none);
    assert_eq!(InactivityPolicy::default().check(false), Ok(()));
    let alerts_alone = Times {
        close: None,
        warning: None,
        ..EXAMPLE
    };
    assert_eq!(alerts_alone.policy().check(false), Ok(()));
    let red_at_close = Times {
        alerts: Some((10, 30)),
        ..EXAMPLE
    };
    assert_eq!(red_at_close.policy().check(WITH_ROUTE), Ok(()));
    let warned_before_alerts = Times {
        warning: Some(1),
        ..EXAMPLE
    };
    assert_eq!(warned_before_alerts.policy().check(WITH_ROUTE), Ok(()));

    let full = refused(|policy| {
        let close = auto_close(policy);
        close.tags = (0..20).map(|n| format!("{n:ñ<64}")).collect();
        close.note = Some(ClosingNote {
            category: "ñ".repeat(100),
            summary: "a\nñ\t".repeat(1_000),
        });
        close.closing_text = Some("Bye, {{contact_name}}".to_owned());
        warning(policy).text = format!("{{{{time_left}}}}{}", "ñ".repeat(4_096 - 13));
        warning(policy).image_url = Some("https://example.com:8443/a.png?b=c#d".to_owned());
    });
    assert_eq!(full, none);
}

#[test]
fn times_must_be_in_order() {
    for (alerts, warning, close, expected) in [
        ((20, 20), 25, 30, "policy.alerts.first_alert"),
        ((21, 20), 25, 30, "policy.alerts.first_alert"),
        ((10, 31), 25, 30, "policy.alerts.second_alert"),
        ((10, 20), 30, 30, "policy.warning.warn_after"),
        ((10, 20), 31, 30, "policy.warning.warn_after"),
    ] {
        let times = Times {
            alerts: Some(alerts),
            warning: Some(warning),
            close: Some(close),
            ..EXAMPLE
        };
        assert_eq!(fields(times.policy().check(WITH_ROUTE)), [expected]);
    }
}

#[test]
fn times_compare_across_units() {
    let minute = TimeValue::new(1, TimeUnit::Minute).expect("valid");
    let fields = refused(|policy| {
        policy.alerts = Some(plazo_domain::Alerts {
            first: seconds(60),
            second: minute,
        });
        auto_close(policy).after = seconds(60);
        warning(policy).after = seconds(59);
    });
    assert_eq!(fields, ["policy.alerts.first_alert"]);
}

#[test]
fn the_close_needs_an_exit_route_and_the_warning_a_close() {
    assert_eq!(fields(EXAMPLE.policy().check(false)), ["policy.auto_close"]);
    assert_eq!(
        refused(|policy| policy.auto_close = None),
        ["policy.warning"]
    );
}

#[test]
fn texts_must_be_readable_templates() {
    for text in [
        "",
        " \n",
        "{{name}}",
        "{{contact_name",
        "nul \0",
        &"ñ".repeat(4_097),
    ] {
        assert_eq!(refused_text(text), ["policy.warning.text"], "{text:?}");
        let closing_text = Some(text.to_owned());
        assert_eq!(
            refused(|policy| auto_close(policy).closing_text = closing_text),
            ["policy.auto_close.closing_text"],
            "{text:?}"
        );
    }
    assert_eq!(refused_text("{{time_left}}"), Vec::<String>::new());
    assert_eq!(
        refused(|policy| auto_close(policy).closing_text = Some("{{time_left}}".to_owned())),
        ["policy.auto_close.closing_text"]
    );
}

#[test]
fn images_must_be_https_urls() {
    for url in [
        "",
        "http://example.com/a.png",
        "/a.png",
        "https://",
        "https:///a.png",
        "https://user@example.com/",
        "https://example.com:0/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://example..com/",
        "https://[::g]/",
        "https://example.com/ñ",
        "https://example.com/\n",
        "ñttps://example.com/",
        &format!("https://example.com/{}", "a".repeat(2_029)),
    ] {
        let fields = refused_url(url);
        assert!(!fields.is_empty(), "{url:?}");
        assert!(
            fields
                .iter()
                .all(|field| field == "policy.warning.image_url"),
            "{url:?}: {fields:?}"
        );
    }
    for url in [
        "https://example.com",
        "HTTPS://example.com?a",
        "https://[2001:db8::1]:8443/a.png",
        "https://192.0.2.1/a%20b",
        &format!("https://example.com/{}", "a".repeat(2_028)),
    ] {
        assert_eq!(refused_url(url), Vec::<String>::new(), "{url:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_url_is_accepted_or_refused_for_its_field(
        parts in proptest::collection::vec(
            proptest::sample::select(&["https://", "[", "]", ":", "::1", "/", "@", ".", "a", "é", "1"][..]),
            0..10,
        )
    ) {
        let fields = refused_url(&parts.concat());
        prop_assert!(fields.iter().all(|field| field == "policy.warning.image_url"));
    }
}

#[test]
fn tags_and_notes_have_limits() {
    let tags = |tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        fields(Err(check_tags("tags", &tags)))
    };
    assert_eq!(tags(&["a", ""]), ["tags[1]"]);
    assert_eq!(tags(&["a", "b", "a"]), ["tags[2]"]);
    assert_eq!(tags(&["a\n"]), ["tags[0]"]);
    assert_eq!(tags(&[&"ñ".repeat(65)]), ["tags[0]"]);
    let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
    assert_eq!(
        refused(|policy| auto_close(policy).tags = many),
        ["policy.auto_close.tags"]
    );

    let note = |category: &str, summary: &str| {
        let note = ClosingNote {
            category: category.to_owned(),
            summary: summary.to_owned(),
        };
        fields(Err(check_note("note", &note)))
    };
    assert_eq!(note("", ""), Vec::<String>::new());
    assert_eq!(note(&"ñ".repeat(101), ""), ["note.category"]);
    assert_eq!(note("a\nb", ""), ["note.category"]);
    assert_eq!(note("", &"ñ".repeat(4_001)), ["note.summary"]);
    assert_eq!(note("", "\0"), ["note.summary"]);
    assert_eq!(
        refused(|policy| {
            auto_close(policy).note = Some(ClosingNote {
                category: "\u{7}".to_owned(),
                summary: String::new(),
            });
        }),
        ["policy.auto_close.note.category"]
    );
}

#[test]
fn all_violations_are_told_at_once() {
    let policy = InactivityPolicy {
        warning: Some(Warning {
            after: seconds(40),
            text: "{{nobody}}".to_owned(),
            image_url: Some("ftp://example.com".to_owned()),
        }),
        ..Times {
            alerts: Some((50, 45)),
            ..EXAMPLE
        }
        .policy()
    };
    let violations = policy.check(false).expect_err("much is wrong");
    let told: Vec<_> = violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "policy.alerts.first_alert",
                "must be shorter than second_alert"
            ),
            (
                "policy.alerts.second_alert",
                "must not be longer than auto_close.close_after"
            ),
            (
                "policy.auto_close",
                "needs the bot's exit route, which is not set"
            ),
            (
                "policy.warning.warn_after",
                "must be shorter than auto_close.close_after"
            ),
            (
                "policy.warning.text",
                "unknown placeholder {{nobody}}; two literal braces are written as {{{{"
            ),
            (
                "policy.warning.image_url",
                "must be an absolute URL that begins with https://"
            ),
        ]
    );
}

fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

#[test]
fn exclude_tags_are_tags_that_the_close_does_not_add() {
    for (excluded, expected) in [
        (tags(&["vip", "vip"]), "policy.auto_close.exclude_tags[1]"),
        (tags(&["vip", ""]), "policy.auto_close.exclude_tags[1]"),
        (tags(&["a\tb"]), "policy.auto_close.exclude_tags[0]"),
        (
            tags(&[&"ñ".repeat(65)]),
            "policy.auto_close.exclude_tags[0]",
        ),
        (
            (0..21).map(|n| n.to_string()).collect(),
            "policy.auto_close.exclude_tags",
        ),
    ] {
        let refused = refused(|policy| auto_close(policy).exclude_tags = excluded);
        assert_eq!(refused, [expected]);
    }
    // A ticket that is closed with such a tag could never be closed again.
    assert_eq!(
        refused(|policy| {
            auto_close(policy).tags = tags(&["inactive", "vip"]);
            auto_close(policy).exclude_tags = tags(&["vip"]);
        }),
        ["policy.auto_close.tags[1]"]
    );
    assert_eq!(
        refused(|policy| {
            auto_close(policy).tags = tags(&["inactive"]);
            auto_close(policy).exclude_tags = tags(&["vip"]);
        }),
        Vec::<String>::new()
    );
}

#[test]
fn tickets_with_an_excluded_tag_are_excluded() {
    let mut policy = EXAMPLE.policy();
    assert!(!policy.excludes(&tags(&["vip"])));
    auto_close(&mut policy).exclude_tags = tags(&["vip", "legal"]);
    assert!(policy.excludes(&tags(&["new", "legal"])));
    assert!(!policy.excludes(&tags(&["new", "VIP"])));
    assert!(!policy.excludes(&[]));
}

#[test]
fn a_close_that_needs_the_delivery_needs_the_warning() {
    let needs_delivery =
        |policy: &mut InactivityPolicy| auto_close(policy).max_delivery_wait = Some(seconds(60));
    assert_eq!(refused(needs_delivery), Vec::<String>::new());
    assert_eq!(
        refused(|policy| {
            needs_delivery(policy);
            policy.warning = None;
        }),
        ["policy.auto_close.close_needs_delivery"]
    );
}

#[test]
fn the_alerts_of_the_agents_side_must_be_in_order() {
    let refused_for = |first, second| {
        refused(|policy| {
            policy.agent_alerts = Some(Alerts {
                first: seconds(first),
                second: seconds(second),
            });
        })
    };
    assert_eq!(refused_for(10, 11), Vec::<String>::new());
    assert_eq!(
        refused_for(10, 90),
        Vec::<String>::new(),
        "the close is not theirs"
    );
    assert_eq!(refused_for(10, 10), ["policy.agent_alerts.first_alert"]);
    assert_eq!(refused_for(60, 10), ["policy.agent_alerts.first_alert"]);
}

#[test]
fn days_are_refused_in_business_time() {
    let calendar = || {
        let spec = CalendarSpec {
            time_zone: "America/Sao_Paulo".to_owned(),
            week: vec![WeeklyInterval {
                weekday: Weekday::Monday,
                open: OpenInterval {
                    start_minute: 540,
                    end_minute: 1_080,
                },
            }],
            exceptions: Vec::new(),
        };
        Some(Calendar::new(spec).expect("a valid calendar"))
    };
    let days = |value| TimeValue::new(value, TimeUnit::Day).expect("a valid time");
    let alerts = Some(Alerts {
        first: days(1),
        second: days(2),
    });
    let in_days = |policy: &mut InactivityPolicy| {
        policy.alerts = alerts;
        policy.agent_alerts = alerts;
        auto_close(policy).after = days(4);
        auto_close(policy).max_delivery_wait = Some(days(1));
        warning(policy).after = days(3);
    };
    assert_eq!(refused(in_days), Vec::<String>::new());
    assert_eq!(
        refused(|policy| policy.calendar = calendar()),
        Vec::<String>::new()
    );
    assert_eq!(
        refused(|policy| {
            in_days(policy);
            policy.calendar = calendar();
        }),
        [
            "policy.alerts.first_alert",
            "policy.alerts.second_alert",
            "policy.auto_close.close_after",
            "policy.warning.warn_after",
            "policy.agent_alerts.first_alert",
            "policy.agent_alerts.second_alert",
        ],
        "the wait for a delivery is wall-clock time"
    );
    // Longer than a day, but not set in days.
    assert_eq!(
        refused(|policy| {
            policy.calendar = calendar();
            auto_close(policy).after = TimeValue::new(48, TimeUnit::Hour).expect("a valid time");
        }),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_policy_counts() {
    let full = EXAMPLE.policy();
    let nothing = InactivityPolicy::default();
    for kind in [
        CycleKind::CustomerSilent,
        CycleKind::CustomerWaits,
        CycleKind::AgentSilent,
    ] {
        for has_written in [false, true] {
            assert!(!nothing.counts(kind, has_written));
            let expected = kind == CycleKind::CustomerSilent;
            assert_eq!(full.counts(kind, has_written), expected, "{kind:?}");
        }
    }
    let mut options = EXAMPLE.policy();
    auto_close(&mut options).only_after_first_agent_message = false;
    assert!(options.counts(CycleKind::CustomerWaits, false));
    assert!(!options.counts(CycleKind::CustomerWaits, true));
    auto_close(&mut options).close_while_customer_waits = true;
    auto_close(&mut options).only_after_first_agent_message = true;
    assert!(!options.counts(CycleKind::CustomerWaits, false));
    assert!(options.counts(CycleKind::CustomerWaits, true));
}

//! The rules of the zones come from the program, not from the machine.

use std::path::PathBuf;
use std::process::Command;

use jiff::Timestamp;

use super::{at, daily};

const TEST: &str = "calendars::built_in::zones_of_the_machine_do_not_matter";
/// Set in the process that runs with the false zones.
const IS_CHILD: &str = "PLAZO_TEST_FALSE_ZONES";

/// A zone file (RFC 9636) for nine hours ahead of UTC, always.
fn nine_hours_ahead() -> Vec<u8> {
    let mut part = b"TZif2".to_vec();
    part.extend([0; 15]);
    // Numbers of: flags, flags, leap seconds, changes, kinds of local time, characters.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        part.extend(count.to_be_bytes());
    }
    part.extend(32_400_i32.to_be_bytes());
    // No daylight saving; the name begins at 0.
    part.extend([0, 0]);
    part.extend(b"NNN\0");
    // The old and the new form are alike where there are no changes.
    [&part, &part, &b"\nNNN-9\n"[..]].concat()
}

#[test]
fn zones_of_the_machine_do_not_matter() {
    if std::env::var_os(IS_CHILD).is_some() {
        let noon = at("2025-01-06T12:00:00Z");
        let offset_s = |zone: jiff::tz::TimeZone, at: Timestamp| zone.to_offset(at).seconds();
        let false_zone = jiff::tz::db().get("Europe/Berlin").expect("the false zone");
        assert_eq!(offset_s(false_zone, noon), 32_400, "the machine's zone");
        assert!(daily("Europe/Berlin", "13:00-13:01").is_open(noon));
        return;
    }
    let zones = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("false-zones");
    std::fs::create_dir_all(zones.join("Europe")).expect("a directory");
    std::fs::write(zones.join("Europe/Berlin"), nine_hours_ahead()).expect("a file");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", TEST])
        .env("TZDIR", &zones)
        .env(IS_CHILD, "1")
        .output()
        .expect("a child");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

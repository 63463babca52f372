//! Fuzz targets for what reads foreign bytes. One program holds them all, so that it is linked once: FUZZ_TARGET names
//! the one to run. Each asserts what must hold of what was read, beside that nothing panics.
#![no_main]

mod access;
mod targets;

// Small files of services that need nothing else are compiled in, so that their services need not be built.
#[path = "../../../services/ticketing/src/feed/position.rs"]
mod position;
#[path = "../../../services/history/src/search_key.rs"]
mod search_key;
#[path = "../../../services/history/src/search_query.rs"]
mod search_query;
mod validate;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    targets::find(&name).unwrap_or_else(|| {
        let names: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("FUZZ_TARGET must be one of: {}", names.join(" "));
        std::process::exit(64);
    })
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));

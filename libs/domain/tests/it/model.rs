//! The clock against the naive model, which looks at every tick, while the clock is looked at only when its
//! timer has a reason to.

use plazo_model::{Script, any_story, play};
use proptest::prelude::*;

use crate::support::{Desk, real_policy};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        max_shrink_iters: 4_000,
        // A failure prints its story, which is what one needs; no file is kept beside the tests.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_clock_does_what_the_model_does(story in any_story()) {
        let policy = real_policy(&story.settings.bot, &story.settings.week);
        prop_assert_eq!(policy.check(true), Ok(()));
        let script = Script::new(story);
        let mut desk = Desk::new(&script.story.settings);
        prop_assert_eq!(play(&script, &mut desk), Ok(()));
    }
}

//! Many times in little room.

/// Times of a column in milliseconds, with gaps. Four bytes each: a report holds a dozen of them for each of its
/// conversations, and hardly any is longer than the 24 days that fit.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// The time itself below [`LARGE`]; [`LARGE`] plus its place in `large`; [`NONE`] for a gap.
    small: Vec<u32>,
    large: Vec<i64>,
}

const LARGE: u32 = 1 << 31;
const NONE: u32 = u32::MAX;

impl Durations {
    pub(super) fn push(&mut self, duration_ms: Option<i64>) {
        let stored = match duration_ms {
            None => NONE,
            Some(ms) => match u32::try_from(ms) {
                Ok(small) if small < LARGE => small,
                _ => {
                    self.large.push(ms);
                    u32::try_from(self.large.len() - 1).map_or(NONE, |place| LARGE + place)
                }
            },
        };
        self.small.push(stored);
    }

    pub(super) fn get(&self, row: usize) -> Option<i64> {
        match self.small[row] {
            NONE => None,
            stored if stored < LARGE => Some(i64::from(stored)),
            stored => Some(self.large[(stored - LARGE) as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_length_come_back() {
        let times = [
            Some(0),
            None,
            Some(i64::from(LARGE) - 1),
            Some(i64::from(LARGE)),
            Some(i64::from(u32::MAX)),
            Some(i64::MAX),
            Some(7),
        ];
        let mut column = Durations::default();
        for time in times {
            column.push(time);
        }
        let read: Vec<_> = (0..times.len()).map(|row| column.get(row)).collect();
        assert_eq!(read, times);
    }
}

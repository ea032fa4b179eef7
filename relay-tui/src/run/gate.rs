//! When to draw. Keys at once, but no closer than a terminal can follow; data a few times a
//! second; nothing changed, nothing drawn.

/// The least time between two frames.
const FLOOR_MS: u64 = 25;
/// The least time between two frames that only data asked for: 4 a second.
const DATA_MS: u64 = 250;
/// The same over a slow line.
const SLOW_DATA_MS: u64 = 2_000;

/// Remembers the last frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    drawn_ms: Option<u64>,
    slow: bool,
}

impl Gate {
    /// Whether the line is slow.
    pub(crate) fn set_slow(&mut self, slow: bool) {
        self.slow = slow;
    }

    /// The moment of the next frame; `None` when nothing asks for one.
    pub(crate) fn due_ms(self, input: bool, data: bool) -> Option<u64> {
        let after = match (input, data) {
            (true, _) => FLOOR_MS,
            (false, true) if self.slow => SLOW_DATA_MS,
            (false, true) => DATA_MS,
            (false, false) => return None,
        };
        Some(self.drawn_ms.map_or(0, |drawn| drawn + after))
    }

    pub(crate) fn drew(&mut self, now_ms: u64) {
        self.drawn_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_now_and_an_idle_console_draws_nothing() {
        let gate = Gate::default();
        assert_eq!(gate.due_ms(true, false), Some(0));
        assert_eq!(gate.due_ms(false, false), None);
    }

    #[test]
    fn a_storm_of_data_is_four_frames_a_second_and_of_keys_forty() {
        let frames = |slow: bool, input: bool, data: bool| {
            let mut gate = Gate::default();
            gate.set_slow(slow);
            (0..1_000)
                .filter(|now| {
                    let draws = gate.due_ms(input, data).is_some_and(|due| due <= *now);
                    if draws {
                        gate.drew(*now);
                    }
                    draws
                })
                .count()
        };
        assert_eq!((frames(false, false, true), frames(false, true, true)), (4, 40));
        assert_eq!((frames(false, false, false), frames(true, false, true)), (0, 1));
    }
}

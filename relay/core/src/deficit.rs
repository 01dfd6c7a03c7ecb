//! Turns by bytes: deficit round robin (Shreedhar and Varghese, 1995) over whoever waits in line
//! for the backend's buffers.

/// Bytes of a turn: one full train, so that trains stay whole.
const QUANTUM: isize = 64 << 10;

/// What an operation costs at least. Short ones cost the backend nearly as much as long ones, so
/// whoever sends little at a time may not take many buffers in one turn.
const OPERATION_MIN: isize = 4 << 10;

/// What is left of a turn. What was overdrawn is missing in the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deficit(isize);

impl Default for Deficit {
    fn default() -> Self {
        Deficit(QUANTUM)
    }
}

impl Deficit {
    /// Charges an operation of so many bytes. `false` when the turn is over: to the end of the
    /// line.
    pub(crate) fn spend(&mut self, bytes: usize) -> bool {
        self.0 -= (bytes as isize).max(OPERATION_MIN);
        let more = self.0 > 0;
        if !more {
            self.0 += QUANTUM;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes and operations of each in `rounds` turns of two that always have something.
    fn share(rounds: usize, sizes: [usize; 2]) -> [usize; 2] {
        let mut line = std::collections::VecDeque::from([0, 1]);
        let mut deficits = [Deficit::default(); 2];
        let mut sent = [0; 2];
        for _ in 0..rounds {
            let who = line.pop_front().unwrap();
            sent[who] += sizes[who];
            if deficits[who].spend(sizes[who]) {
                line.push_front(who);
            } else {
                line.push_back(who);
            }
        }
        sent
    }

    #[test]
    fn short_trains_get_as_many_bytes_as_full_ones() {
        let [full, short] = share(10_000, [65_507, 9_000]);
        assert!((0.95..1.05).contains(&(short as f64 / full as f64)), "{full} {short}");
    }

    #[test]
    fn the_shortest_get_a_bounded_number_of_operations() {
        let [full, tiny] = share(10_000, [65_507, 64]);
        let (full, tiny) = (full / 65_507, tiny / 64);
        assert!(tiny <= 17 * full, "{tiny} operations beside {full}");
    }
}

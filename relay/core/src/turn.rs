//! The output half of a turn, the same for the daemon, tests and the simulator.

use std::time::Instant;

use crate::engine::Engine;
use crate::port::Io;

/// Buffers filled per call and leg. What is left keeps its place in line, and packets that wait to
/// be received are not kept waiting by it: about 16 MiB each way per turn at most.
const BUFFERS_MAX: usize = 256;

/// Moves what the engine wants to send into buffers of `io`, until nothing is left or all buffers
/// are in flight or the budget is spent; what remains waits for the next turn. Target-facing
/// operations go first: they are what frees the engine's queues.
///
/// Returns `true` when something may be left: turn again without waiting.
pub fn flush(engine: &mut Engine, io: &mut impl Io, now: Instant) -> bool {
    let mut left = true;
    for _ in 0..BUFFERS_MAX {
        let Some(mut buffer) = io.take_buffer() else { return true };
        let Some(op) = engine.poll_egress(now, &mut buffer) else {
            io.give_back(buffer);
            left = false;
            break;
        };
        io.egress(op, buffer);
    }
    for _ in 0..BUFFERS_MAX {
        let Some(mut buffer) = io.take_buffer() else { return true };
        let Some(transmit) = engine.poll_transmit(now, &mut buffer) else {
            io.give_back(buffer);
            return left;
        };
        io.transmit(&transmit, buffer);
    }
    true
}

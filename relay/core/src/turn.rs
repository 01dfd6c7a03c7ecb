//! The output half of a turn, the same for the daemon, tests and the simulator.

use std::time::Instant;

use crate::engine::Engine;
use crate::port::Io;

/// Moves what the engine wants to send into buffers of `io`, until nothing is left or all buffers
/// are in flight; what remains waits for the next turn. Target-facing operations go first: they
/// are what frees the engine's queues.
///
/// Returns `true` when it stopped for want of buffers.
pub fn flush(engine: &mut Engine, io: &mut impl Io, now: Instant) -> bool {
    loop {
        let Some(mut buffer) = io.take_buffer() else { return true };
        let Some(op) = engine.poll_egress(now, &mut buffer) else {
            io.give_back(buffer);
            break;
        };
        io.egress(op, buffer);
    }
    loop {
        let Some(mut buffer) = io.take_buffer() else { return true };
        let Some(transmit) = engine.poll_transmit(now, &mut buffer) else {
            io.give_back(buffer);
            return false;
        };
        io.transmit(&transmit, buffer);
    }
}

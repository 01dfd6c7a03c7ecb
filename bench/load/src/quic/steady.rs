//! A congestion controller that controls nothing.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::congestion::{Controller, ControllerFactory};

/// The generator sends what its work says: a window or a rate bounds what is under way, and a
/// stream's flow control bounds an upload. A controller of its own would lower the load whenever
/// the relay falls behind, which an open loop must not do. A window above 2^32 also turns
/// quinn-proto's pacing off, which would spread trains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steady;

const WINDOW: u64 = 1 << 40;

impl Controller for Steady {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ControllerFactory for Steady {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

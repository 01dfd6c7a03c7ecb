//! What time it is: by the host's clock or, where time is a model too, by one that is put forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock. All clones of one show the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// A clock that stands at this time, Unix time in milliseconds, until it is put forward.
    pub fn standing(at_ms: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(at_ms))))
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.as_ref().map_or_else(crate::now_ms, |at| at.load(Ordering::Relaxed))
    }

    /// Puts a standing clock forward; the host's goes as it goes.
    pub fn put_forward(&self, by_ms: u64) {
        if let Some(at) = &self.0 {
            at.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}

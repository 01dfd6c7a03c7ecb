//! Frames of one worker's exit flow that arrived on a queue of another worker.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::waker::Waker;

/// Frames that wait for one worker. The NIC spreads flows over queues without asking, so with
/// several workers most exit frames take this way; a turn takes them all.
const CROSSING_MAX: usize = 4_096;

/// The queues between workers; clones share them.
#[derive(Clone, Debug)]
pub struct Crossing {
    lanes: Arc<[Lane]>,
}

#[derive(Debug)]
struct Lane {
    frames: ArrayQueue<Vec<u8>>,
    waker: Waker,
}

impl Crossing {
    /// One lane for each worker, by the waker of its backend.
    pub fn new(wakers: &[Waker]) -> Crossing {
        let lane =
            |waker: &Waker| Lane { frames: ArrayQueue::new(CROSSING_MAX), waker: waker.clone() };
        Crossing { lanes: wakers.iter().map(lane).collect() }
    }

    /// Hands a frame to its owner. `false`: the queue is full, or there is no such worker.
    pub(crate) fn hand_over(&self, worker: usize, frame: &[u8]) -> bool {
        let Some(lane) = self.lanes.get(worker) else { return false };
        let taken = lane.frames.push(frame.to_vec()).is_ok();
        // Costs one atomic operation from the second frame of a burst on.
        lane.waker.wake();
        taken
    }

    /// The next frame for this worker.
    pub(crate) fn take(&self, worker: usize) -> Option<Vec<u8>> {
        self.lanes.get(worker)?.frames.pop()
    }

    pub(crate) fn is_empty(&self, worker: usize) -> bool {
        self.lanes.get(worker).is_none_or(|lane| lane.frames.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_turns_frames_away() {
        let wakers = [Waker::new().unwrap(), Waker::new().unwrap()];
        let crossing = Crossing::new(&wakers);
        for _ in 0..CROSSING_MAX {
            assert!(crossing.hand_over(1, b"frame"));
        }
        assert!(!crossing.hand_over(1, b"frame") && !crossing.hand_over(2, b"frame"));
        assert_eq!(crossing.take(1).unwrap(), b"frame");
        assert!(crossing.is_empty(0) && !crossing.is_empty(1));
    }
}

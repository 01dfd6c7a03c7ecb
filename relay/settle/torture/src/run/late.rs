//! A challenge's time goes by, and somebody records it as unanswered as another one is opened.

use super::{FEE_WEI, Run, runtime};
use crate::node::{ANSWER_S, State};

/// Blocks in which all is seen and answered, if it ever is.
const BLOCKS: u64 = 40;

/// The sidecar has just lost a challenge, and gets another in the block that records it. Returns
/// anything that must not be.
pub fn another_challenge_as_one_is_recorded() -> Vec<String> {
    runtime().block_on(Run::plain().another())
}

impl Run {
    async fn another(&mut self) -> Vec<String> {
        let Some(epoch) = self.anchored().await else {
            return vec!["nothing was anchored".into()];
        };
        self.node().challenge(epoch, FEE_WEI);
        self.node().mine();
        // Nobody looks meanwhile, as after a long outage.
        self.pass(ANSWER_S + 1);
        let mut complaints = Vec::new();
        self.is_late(1, &mut complaints).await;
        self.node().record_unanswered(1);
        self.node().challenge(epoch, FEE_WEI);
        self.blocks(BLOCKS).await;
        let states: Vec<State> = {
            let node = self.node();
            node.world().usage.challenges().values().map(|one| one.state).collect()
        };
        if states != [State::Unanswered, State::Answered] {
            complaints.push(format!("the challenges are {states:?}"));
        }
        self.is_late(0, &mut complaints).await;
        complaints
    }

    /// Waits until it says that so many went by.
    async fn is_late(&mut self, count: u64, complaints: &mut Vec<String>) {
        let mut late = None;
        for _ in 0..BLOCKS {
            self.blocks(1).await;
            late = self.view().map(|view| view.challenges.late);
            if late == Some(count) {
                return;
            }
        }
        complaints.push(format!("{late:?} challenges are called late, not {count}"));
    }
}

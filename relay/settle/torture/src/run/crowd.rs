//! Very many challenges at once, while a payer leaves; nothing breaks.

use std::collections::BTreeSet;

use serde::Serialize;
use weir_settle::health::troubles;

use super::{FEE_WEI, Run, runtime};
use crate::node::State;
use crate::payer::LANE;

/// Blocks for each challenge, at most.
const BLOCKS_EACH: u64 = 4;
/// When time gets short, seconds that are left; as many blocks.
const SHORT_S: u64 = 120;
/// Until the payer can take its deposit.
const LEAVES_S: u64 = 7_200;

/// What became of a crowd of challenges.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Crowd {
    /// Challenges answered in time.
    pub answered: u64,
    /// Challenges that weren't.
    pub late: u64,
    /// Answers that were mined between the moment at which the payer began to leave and its claim.
    pub answers_before_claim: Option<u64>,
    /// Calls of the node in one look at the chain, at most.
    pub calls_max: u64,
    /// Challenges held in memory, at most.
    pub watched_max: u64,
    /// Intents with something left to do, at most.
    pub open_max: usize,
    /// Bytes of one transaction's input, at most.
    pub input_max: usize,
    /// By the sidecar's own words: challenges that it didn't answer in time.
    pub said_late: u64,
    /// What it called a trouble, by name.
    pub troubles: BTreeSet<&'static str>,
    /// Anything that must not be.
    pub complaints: Vec<String>,
}

/// Opens `count` challenges in one block. With `in_time`, all there is to do is to answer them and
/// to claim what a leaving payer owes; else the time for most of them runs out.
pub fn crowd(count: u64, in_time: bool) -> Crowd {
    runtime().block_on(Run::plain().crowd(count, in_time))
}

impl Run {
    async fn crowd(&mut self, count: u64, in_time: bool) -> Crowd {
        let mut crowd = Crowd::default();
        let Some(epoch) = self.anchored().await else {
            crowd.complaints.push("nothing was anchored".into());
            return crowd;
        };
        for _ in 0..count {
            self.node().challenge(epoch, FEE_WEI);
        }
        self.blocks(1).await;
        let mut left_at = None;
        for _ in 0..count * BLOCKS_EACH {
            self.blocks(1).await;
            self.observe(&mut crowd);
            if left_at.is_none() && crowd.answered >= count / 20 {
                left_at = Some(crowd.answered);
                if in_time {
                    self.use_and_pay(0, 2_000).await;
                    let channel = self.payers[0].channel;
                    self.node().leave(channel, LEAVES_S);
                } else {
                    self.time_gets_short();
                }
            }
            let payer = &self.payers[0];
            let claimed = self.node().world().claimed(payer.channel, LANE);
            if claimed == payer.signed && crowd.answers_before_claim.is_none() {
                crowd.answers_before_claim = left_at.map(|then| crowd.answered - then);
            }
            if crowd.answered + crowd.late == count && crowd.said_late == crowd.late {
                break;
            }
        }
        crowd
    }

    fn time_gets_short(&mut self) {
        let mut node = self.node();
        let ends = node.world().usage.challenges().values().map(|one| one.answer_by).min();
        let left_s = ends.unwrap_or(0).saturating_sub(node.time() + SHORT_S);
        node.skip(left_s);
    }

    fn observe(&self, crowd: &mut Crowd) {
        let node = self.node();
        let challenges = node.world().usage.challenges().values();
        let is_late =
            |one: &&crate::node::Challenge| one.state == State::Open && one.answer_by < node.time();
        crowd.late = challenges.clone().filter(is_late).count() as u64;
        crowd.answered = challenges.filter(|one| one.state == State::Answered).count() as u64;
        crowd.calls_max = node.calls_max;
        crowd.input_max = node.input_max;
        drop(node);
        let Some(sidecar) = &self.sidecar else { return };
        let (view, chain) = (sidecar.clerk.views(), sidecar.driver.view());
        crowd.said_late = chain.challenges.late;
        crowd.watched_max = crowd.watched_max.max(chain.challenges.watched);
        crowd.open_max = crowd.open_max.max(chain.open.len());
        let view = view.borrow().clone();
        crowd.troubles.extend(troubles(&view, &chain).iter().map(|trouble| trouble.name));
    }
}

//! A claim's block leaves the chain while a claim that can't wait is planned.

use std::time::Duration;

use super::{Run, runtime};
use crate::payer::LANE;

/// Blocks in which all is done, if it ever is.
const BLOCKS: u64 = 40;
/// Until the payer that leaves can take its deposit, in seconds.
const LEAVES_S: u64 = 7_200;

/// One payer's claim is unmined while another payer's waits to be signed. Returns anything that
/// must not be.
pub fn unmined_beside_a_leaving_payer() -> Vec<String> {
    runtime().block_on(async {
        let fits = |run: &Run| {
            run.payers.len() == 2 && run.payers.iter().all(|payer| payer.deposit > 100_000)
        };
        Run::calm(fits).unmine().await
    })
}

impl Run {
    async fn unmine(&mut self) -> Vec<String> {
        assert!(self.is_up().await, "a disk without faults opens");
        // Before its first look at the chain it gives no credit.
        self.blocks(4).await;
        self.use_and_pay(0, 6_000).await;
        self.node().stalled = true;
        let driver = self.sidecar.as_ref().expect("it is up").driver.clone();
        let job = tokio::spawn(async move { driver.settle_now().await });
        self.until(|states| states == ["broadcast"]).await;
        self.use_and_pay(1, 6_000).await;
        let leaving = self.payers[1].channel;
        self.node().leave(leaving, LEAVES_S);
        self.until(|states| states == ["broadcast", "planned"]).await;
        self.node().stalled = false;
        self.until(|states| states[0] == "mined").await;
        job.abort();

        let Self { host, rng, .. } = self;
        host.node.lock().expect("no holder of this lock panics").reorganise(1, rng);
        let mut complaints = Vec::new();
        if self.is_claimed(0) {
            complaints.push("the first claim's block didn't leave the chain".into());
        }
        self.blocks(BLOCKS).await;
        for payer in [0, 1] {
            if !self.is_claimed(payer) {
                complaints.push(format!("payer {payer} was never claimed from"));
            }
        }
        complaints
    }

    fn is_claimed(&self, payer: usize) -> bool {
        let payer = &self.payers[payer];
        self.node().world().claimed(payer.channel, LANE) == payer.signed
    }

    /// Makes blocks until the open intents are in such states, and returns at once when they are.
    async fn until(&self, is_so: impl Fn(&[&str]) -> bool) {
        let mut last = Vec::new();
        for _ in 0..BLOCKS {
            self.node().mine();
            for _ in 0..super::BLOCK.as_millis() {
                let view = self.view().expect("it is up");
                last = view.open.iter().map(|intent| intent.state.to_owned()).collect();
                if is_so(&last.iter().map(String::as_str).collect::<Vec<_>>()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        panic!("the open intents are {last:?}");
    }
}

//! Runs without crashes and without chance, for what is done in a certain order.

use super::{BLOCK, Run};

impl Run {
    /// One payer, one endpoint, and nothing breaks.
    pub(super) fn plain() -> Self {
        let is_plain = |run: &Run| {
            let payers = &run.payers;
            payers.len() == 1 && payers[0].deposit > 100_000 && run.host.config.chain.rpc.len() == 1
        };
        Self::calm(is_plain)
    }

    /// The first run that fits, and nothing breaks in it.
    pub(super) fn calm(fits: impl Fn(&Run) -> bool) -> Self {
        let mut runs = (1..).map(|seed| Run::new(seed, None));
        let mut run = runs.find(fits).expect("seeds don't end");
        run.plans.clear();
        run.host.points.arm(None);
        run
    }

    /// Starts, serves its payer and settles: the epoch that is anchored then.
    pub(super) async fn anchored(&mut self) -> Option<u64> {
        assert!(self.is_up().await, "a disk without faults opens");
        // Before its first look at the chain it gives no credit.
        self.blocks(4).await;
        self.use_and_pay(0, 6_000).await;
        self.settle_now(60).await;
        let wallet = crate::sidecar::wallet().address();
        self.node().world().usage.epochs(wallet).first().copied()
    }

    pub(super) async fn use_and_pay(&mut self, payer: usize, bytes: u64) {
        self.learn().await;
        let got = self.relay.deliver(payer, bytes, &mut self.rng);
        self.payers[payer].got_bytes += got;
        // The ask comes a little later than what it is for.
        for _ in 0..3 {
            self.exchange().await;
            tokio::time::sleep(BLOCK).await;
        }
    }
}

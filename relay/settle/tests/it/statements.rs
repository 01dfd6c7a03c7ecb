//! Statements on a real node, with the process dying at every step of the journal on the way to
//! one.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;

use serde_json::json;
use weir_settle::chain::vouch;
use weir_settle::evidence::Statements;
use weir_settle::journal::entry::{Action, Item, Step};
use weir_settle::journal::scan;
use weir_settle::storage::ReadOnly;
use weir_usage::bond::{EpochStatement, Signed};
use weir_usage::merkle::Anchor;

use crate::chain::{LONG, settle_now, use_and_pay};
use crate::common::eventually;
use crate::common::service::key;
use crate::duties::{Dying, Exit};

/// What was given out, by name of the file.
fn given(exit: &Exit) -> BTreeMap<String, Statements> {
    let Ok(files) = fs::read_dir(vouch::directory(&exit.config)) else { return BTreeMap::new() };
    let named = files.map(|file| file.unwrap().path());
    let whole = named.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    whole.map(|path| (path.display().to_string(), Statements::read(&path).unwrap())).collect()
}

fn journaled(exit: &Exit) -> Vec<Signed<EpochStatement>> {
    let mut found = Vec::new();
    scan(&ReadOnly::open(&exit.config.journal).unwrap(), |_, _, entry| {
        if let Item::Vouched(vouched) = entry.item {
            found.push(vouched.said);
        }
        Ok(())
    })
    .unwrap();
    found
}

/// From the plan of the anchor on. What was given out before a crash is what is given out after.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_to_a_statement_signs_for_the_epoch_once() {
    let duties = "sample_days = false\nbond = \"0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0\"\n";
    let Some(mut exit) = Exit::new(&[], duties).await else { return };
    // A journal in which all is claimed and settled, and nothing is anchored.
    let (anchor, bond) = (exit.config.chain.anchor.take(), exit.config.duties.bond.take());
    let running = exit.start().await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    assert_eq!(settle_now(&running).await.settled, 1000);
    running.stop().await.unwrap();
    (exit.config.chain.anchor, exit.config.duties.bond) = (anchor, bond);
    let settled = exit.config.journal.clone();

    let is_anchor = |item: &Item| {
        matches!(item, Item::Outbox(step)
            if matches!(step.step, Step::Planned { action: Action::Anchor { .. } }))
    };
    let mut crashes = 0;
    for step in 0..40 {
        // On a chain that went on, the copy before would be another sidecar with the same keys.
        let snapshot = exit.anvil.call("evm_snapshot", json!([])).await;
        exit.config.journal = exit.anvil.path(&format!("journal-{step}"));
        fs::copy(&settled, &exit.config.journal).unwrap();
        let (storage, dead) = Dying::open(&exit.config.journal, step);
        let running = exit.start_on(storage).await;
        let job = running.as_ref().map(|running| {
            let driver = running.sidecar.driver.clone();
            tokio::spawn(async move { drop(driver.settle_now().await) })
        });
        let crashed = eventually("a crash or the statement", LONG, async || {
            let crashed = running.is_none() || dead.load(Ordering::SeqCst);
            (crashed || !given(&exit).is_empty()).then_some(crashed)
        })
        .await;
        if let Some(job) = job {
            job.abort();
        }
        if let Some(running) = running {
            running.kill().await;
        }
        let before = given(&exit);

        let running = exit.start().await;
        let epoch = settle_now(&running).await.epoch.unwrap();
        eventually("the statement", LONG, async || {
            let view = running.sidecar.driver.view();
            (view.vouched == Some(epoch) && !given(&exit).is_empty()).then_some(())
        })
        .await;
        running.stop().await.unwrap();
        assert_eq!(exit.count(is_anchor), 1, "step {step}: one anchor");
        let said = journaled(&exit);
        assert_eq!(said.len(), 1, "step {step}: one statement");
        let EpochStatement { epoch: about, root, total } = said[0].statement;
        assert_eq!((about, total), (epoch, 1000), "step {step}");
        assert!(exit.is_anchored(&Anchor { epoch, root, total }).await, "step {step}");
        let after = given(&exit);
        let only: Vec<&Statements> = after.values().collect();
        assert_eq!(only.len(), 1, "step {step}: one file");
        assert_eq!(only[0].epochs, said, "step {step}: what was journaled is given out");
        said[0].verify(&only[0].domain, key(2).address()).unwrap();
        assert!(before.is_empty() || before == after, "step {step}: it said something else");
        if !crashed {
            break;
        }
        crashes += 1;
        exit.anvil.call("evm_revert", json!([snapshot])).await;
    }
    assert!(crashes >= 10, "only {crashes} crashes");
}

use weir_core::CreditLine;
use weir_usage::{Address, Domain, FlowAmount, Price};

use super::*;
use crate::control::access::{Access, Reading};

const CHANNEL: [u8; 32] = [7; 32];

fn grant() -> Grant {
    Grant {
        id: 0,
        name: "payer".to_owned(),
        channel: Some(CHANNEL),
        lane: 0,
        max_tunnels: None,
        credit: Arc::new(CreditLine::unlimited()),
        allowance: None,
    }
}

fn ask() -> Ask {
    Ask {
        domain: Domain { chain_id: 1, escrow: Address([1; 20]) },
        channel: ChannelId(CHANNEL),
        lane: 0,
        price: Price::new(1_000).unwrap(),
        seq: 1,
        up_bytes: 10,
        down_bytes: 10,
        amount: 1,
        usage_head: Digest::ZERO,
        last: None,
    }
}

/// Of engines that received so many bytes from clients, of which the kernel saw 1,000.
fn reading(engines: u64) -> Reading {
    let access = |payload_bytes| Access {
        unread_bytes: 0,
        up: FlowAmount { payload_bytes, ..FlowAmount::default() },
        down: FlowAmount::default(),
    };
    Reading { a: access(engines), c: access(1_000), workers: 1 }
}

#[test]
fn nothing_is_asked_while_the_engines_claim_more_than_the_kernel_saw() {
    let watch = Arc::new(Watch::default());
    let strict = Resources::new(None, Some(Arc::clone(&watch)));
    let lenient = Resources::new(None, None);
    for resources in [&strict, &lenient] {
        resources.set_connected(true);
        resources.set_ask(ask());
        assert_eq!(resources.usage(&grant()).status, 200);
    }
    for _ in 0..10 {
        watch.look(&reading(6_000));
    }
    let refused = strict.usage(&grant());
    assert_eq!(refused.status, 503);
    let why = String::from_utf8(refused.body).unwrap();
    assert!(why.contains("the relay counts 5000 bytes from clients that the kernel"), "{why}");
    assert_eq!(lenient.usage(&grant()).status, 200);
    watch.look(&reading(1_000));
    assert_eq!(strict.usage(&grant()).status, 200);
}

//! A relay as most tests want it.

use std::sync::Arc;

use quinn_proto::RandomConnectionIdGenerator;
use ring::digest;
use weir_core::{
    CreditLine, EndpointKeys, EngineConfig, Grant, Grants, Limits, Policy, QuicConfig, Templates,
};

use crate::tls;

/// The credential of the one grant.
pub const GRANT_TOKEN: &str = "open-sesame";

/// SHA-256 of a credential.
pub fn token_sha256(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// A grant without limits.
pub fn grant(id: u32) -> Grant {
    Grant {
        id,
        name: format!("grant-{id}"),
        channel: Some([id as u8; 32]),
        lane: 0,
        max_tunnels: None,
        credit: Arc::new(CreditLine::unlimited()),
        allowance: None,
    }
}

/// A set with one grant, under [`GRANT_TOKEN`].
pub fn grants(grant: Grant) -> Arc<Grants> {
    Arc::new(Grants::new([(token_sha256(GRANT_TOKEN), Arc::new(grant))]))
}

/// Default limits, one grant, and the networks of the sim's targets allowed.
pub fn relay_config() -> EngineConfig {
    EngineConfig {
        name: "relay.test".to_owned(),
        epoch: 0x5eed,
        worker: 3,
        tls: tls::server(),
        keys: EndpointKeys { reset: [1; 64], token: [2; 64] },
        cid: Arc::new(|| Box::new(RandomConnectionIdGenerator::new(8))),
        quic: QuicConfig::default(),
        limits: Limits::default(),
        templates: Templates::default(),
        policy: Arc::new(Policy { own: vec![crate::world::RELAY.ip()], ..Policy::default() }),
        grants: grants(grant(1)),
    }
}

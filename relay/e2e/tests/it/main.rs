//! The product from end to end: the built relay, client, sidecar and token tool, and a real chain.
//! Without anvil a test prints SKIP; with WEIR_REQUIRE_PRIVILEGED it panics.

#[expect(dead_code, reason = "it is made for the relay's own tests, which need more of it")]
#[path = "../../../daemon/tests/lab/mod.rs"]
mod lab;

mod blind;
mod chain;
mod market;
mod paid;
mod payer;
mod refused;

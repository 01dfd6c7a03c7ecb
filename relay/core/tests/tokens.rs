//! Blind tokens: who is asked for them, what they open, and what is answered when they don't.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::StreamId;
use weir_core::{Command, CreditLine, Grant, Grants, Limits, TokenRefusal};
use weir_proto::Field;
use weir_sim::config::{grant, token_sha256};
use weir_sim::scenario::*;
use weir_sim::{ClientId, ClientOptions, GRANT_TOKEN, TcpTarget, World, relay_config};

const ISSUER: u32 = 9;

fn world_taking_tokens(limits: Limits) -> World {
    let mut config = relay_config();
    config.limits = limits;
    let secret = (token_sha256(GRANT_TOKEN), Arc::new(grant(1)));
    config.grants = Arc::new(Grants::new([secret]).with_issuers([ISSUER]));
    let mut world = World::new(1, config);
    add_targets(&mut world, TcpTarget::Echo);
    world.command(Command::TokenChallenges(Arc::from(["PrivateToken challenge=x".to_owned()])));
    world
}

fn stranger(world: &mut World) -> ClientId {
    world.connect(ClientOptions { token: None, ..ClientOptions::default() })
}

fn bought(bytes: u64) -> Arc<Grant> {
    Arc::new(Grant { allowance: Some(Arc::new(CreditLine::new(bytes))), ..grant(ISSUER) })
}

fn show(world: &mut World, client: ClientId, token: &str) -> StreamId {
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":authority", TCP),
        Field::new("authorization", format!("PrivateToken token={token}")),
    ];
    world.client(client).request(&fields, false)
}

fn has_challenge(world: &mut World, client: ClientId, id: StreamId) -> bool {
    let fields = &world.client(client).stream(id).fields;
    fields.iter().any(|field| {
        &field.name[..] == b"www-authenticate" && field.value.starts_with(b"PrivateToken")
    })
}

#[test]
fn a_token_is_asked_for_once_and_stands_for_its_connection() {
    let mut world = world_taking_tokens(Limits::default());
    let client = stranger(&mut world);
    world.tokens.push_back(Ok(bought(1 << 20)));
    // All at once, before the first is answered.
    let streams: Vec<_> = (0..4).map(|_| show(&mut world, client, "a")).collect();
    for id in streams {
        expect_status(&mut world, client, id, 200);
    }
    let later = show(&mut world, client, "a");
    expect_status(&mut world, client, later, 200);
    assert_eq!(world.asked.len(), 1);
    // Elsewhere it is a token like any other, and up to the control plane.
    let other = stranger(&mut world);
    world.tokens.push_back(Err(TokenRefusal::Spent));
    let again = show(&mut world, other, "a");
    expect_status(&mut world, other, again, 401);
    assert!(has_challenge(&mut world, other, again));
    assert_eq!(world.asked.len(), 2);
}

#[test]
fn each_refusal_has_its_answer_and_a_challenge() {
    let mut world = world_taking_tokens(Limits::default());
    let client = stranger(&mut world);
    let missing = world.client(client).open_tcp(TCP);
    expect_status(&mut world, client, missing, 407);
    assert!(has_challenge(&mut world, client, missing));
    for (refusal, status, told) in [
        (TokenRefusal::Invalid, 401, "invalid"),
        (TokenRefusal::WrongIssuer, 401, "issuer"),
        (TokenRefusal::WrongEpoch, 401, "epoch"),
        (TokenRefusal::Spent, 401, "spent"),
        (TokenRefusal::Unavailable, 503, "at the moment"),
    ] {
        world.tokens.push_back(Err(refusal));
        let id = show(&mut world, client, told.split(' ').next().unwrap());
        expect_status(&mut world, client, id, status);
        assert_eq!(has_challenge(&mut world, client, id), status == 401, "{refusal:?}");
        let proxy_status = world.client(client).proxy_status(id);
        assert!(proxy_status.contains(told), "{proxy_status}");
    }
    // A silent control plane is waited for, and not for ever.
    let id = show(&mut world, client, "silence");
    expect_status(&mut world, client, id, 503);
    // Without tokens in the configuration it is a scheme like any unknown one.
    world.command(Command::TokenChallenges(Arc::from([])));
    let asked = world.asked.len();
    let id = show(&mut world, client, "off");
    expect_status(&mut world, client, id, 407);
    assert_eq!(world.asked.len(), asked);
}

#[test]
fn a_further_token_adds_to_a_session_that_is_used_up() {
    let mut world = world_taking_tokens(Limits::default());
    let client = stranger(&mut world);
    let first = bought(1000);
    let line = first.allowance.clone().unwrap();
    world.tokens.push_back(Ok(first));
    let id = show(&mut world, client, "a");
    expect_status(&mut world, client, id, 200);
    line.add_used(1000);
    let id = show(&mut world, client, "a");
    expect_status(&mut world, client, id, 401);
    assert!(has_challenge(&mut world, client, id));
    world.tokens.push_back(Ok(bought(500)));
    let id = show(&mut world, client, "b");
    expect_status(&mut world, client, id, 200);
    assert_eq!(line.left(), 500);
    // Both stand for the session now.
    let id = show(&mut world, client, "a");
    expect_status(&mut world, client, id, 200);
}

#[test]
fn junk_is_limited_on_a_good_connection_too() {
    let limits = Limits { auth_failures_per_minute: 3, ..Limits::default() };
    let mut world = world_taking_tokens(limits);
    let client = stranger(&mut world);
    world.tokens.push_back(Ok(bought(1 << 20)));
    let id = show(&mut world, client, "good");
    expect_status(&mut world, client, id, 200);
    for n in 0..6 {
        world.tokens.push_back(Err(TokenRefusal::Invalid));
        let id = show(&mut world, client, &format!("junk{n}"));
        expect_status(&mut world, client, id, if n < 3 { 401 } else { 429 });
    }
    assert_eq!(world.asked.len(), 4);
    let id = show(&mut world, client, "good");
    expect_status(&mut world, client, id, 200);
    world.run_for(Duration::from_millis(10));
}

#[test]
fn the_content_of_a_request_waits_for_its_token() {
    let mut world = world_taking_tokens(Limits::default());
    let client = stranger(&mut world);
    world.tokens.push_back(Ok(bought(1 << 20)));
    world.client(client).options.token = None;
    let fields = [
        Field::new(":method", "POST"),
        Field::new(":scheme", "https"),
        Field::new(":authority", "relay"),
        Field::new(":path", "/.well-known/weir/echo"),
        Field::new("content-length", "5"),
        Field::new("authorization", "PrivateToken token=c"),
    ];
    let id = world.client(client).request(&fields, false);
    // A DATA frame.
    world.client(client).send_raw(id, &[0, 5]);
    world.client(client).send_raw(id, b"hello");
    world.client(client).finish(id);
    expect_status(&mut world, client, id, 200);
    assert_eq!(world.asked.len(), 2, "the token, then the resource");
    let weir_core::ControlRequest::Http { body, .. } = &world.asked[1] else {
        panic!("not a resource")
    };
    assert_eq!(&body[..], b"hello");
}

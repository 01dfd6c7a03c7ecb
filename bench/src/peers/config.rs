//! The peers' configuration, made afresh for every start: their defaults, and what they can't do
//! without.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::Kind;

/// The name in the servers' certificates, which the clients trust by file.
const SERVER_NAME: &str = "peer.test";

/// The files of one start.
pub(super) struct Files {
    pub(super) server: PathBuf,
    pub(super) client: PathBuf,
}

pub(super) fn write(
    kind: Kind,
    server: SocketAddr,
    socks: SocketAddr,
    dir: &Path,
) -> Result<Files> {
    let secret = secret()?;
    let (ours, theirs) = match kind {
        Kind::Shadowsocks => shadowsocks(server, socks, &secret),
        Kind::Hysteria2 | Kind::Tuic => {
            let cert = dir.join("cert.pem");
            let key = dir.join("key.pem");
            let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
            fs::write(&cert, made.cert.pem())?;
            fs::write(&key, made.signing_key.serialize_pem())?;
            sing_box(kind, server, socks, &secret, (&cert, &key))
        }
    };
    let files = Files { server: dir.join("server.json"), client: dir.join("client.json") };
    fs::write(&files.server, serde_json::to_vec_pretty(&ours)?)?;
    fs::write(&files.client, serde_json::to_vec_pretty(&theirs)?)?;
    Ok(files)
}

fn sing_box(
    kind: Kind,
    server: SocketAddr,
    socks: SocketAddr,
    secret: &str,
    (cert, key): (&Path, &Path),
) -> (Value, Value) {
    // A UUID is TUIC's user name; any will do where there is one user.
    let uuid = "00000000-0000-4000-8000-000000000001";
    let (user, credential) = match kind {
        Kind::Tuic => (json!({"uuid": uuid, "password": secret}), Some(uuid)),
        _ => (json!({"password": secret}), None),
    };
    let inbound = json!({
        "type": kind.name(), "listen": server.ip(), "listen_port": server.port(),
        "users": [user],
        "tls": {
            "enabled": true, "alpn": ["h3"], "certificate_path": cert, "key_path": key,
        },
    });
    let mut outbound = json!({
        "type": kind.name(), "server": server.ip(), "server_port": server.port(),
        "password": secret,
        "tls": {
            "enabled": true, "alpn": ["h3"], "server_name": SERVER_NAME, "certificate_path": cert,
        },
    });
    if let Some(uuid) = credential {
        outbound["uuid"] = uuid.into();
    }
    let entrance = json!({
        "type": "socks", "listen": socks.ip(), "listen_port": socks.port(),
    });
    let log = json!({"level": "error", "timestamp": false});
    (
        json!({"log": log, "inbounds": [inbound], "outbounds": [{"type": "direct"}]}),
        json!({"log": log, "inbounds": [entrance], "outbounds": [outbound]}),
    )
}

fn shadowsocks(server: SocketAddr, socks: SocketAddr, secret: &str) -> (Value, Value) {
    let both = json!({
        "server": server.ip(), "server_port": server.port(),
        "method": "aes-128-gcm", "password": secret, "mode": "tcp_and_udp",
    });
    let mut client = both.clone();
    client["local_address"] = json!(socks.ip());
    client["local_port"] = socks.port().into();
    (both, client)
}

fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

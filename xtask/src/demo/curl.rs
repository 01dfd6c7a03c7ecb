//! curl through the client's HTTP CONNECT proxy: an application that nobody here wrote.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::lab::Host;
use super::scene::{self, Scene};
use crate::sh;

/// Seed of the body; the server makes the same bytes for it every time.
const SEED: u64 = 1;

/// Downloads through the relay, and once more beside it on the server's own host; equal files are
/// the proof.
pub fn download(scene: &Scene, bytes: u64) -> Result<Value> {
    let (through, beside) = (scene.dir.join("curl-through"), scene.dir.join("curl-beside"));
    let port = scene::port(&scene.lab, 80);
    let path = format!("bytes/{bytes}?seed={SEED}");
    curl(
        scene,
        Host::Client,
        &proxied(&["-o", &text(&through), &format!("http://{}:{port}/{path}", scene::WEB)]),
    )?;
    let server = scene::internet_addresses(&scene.lab).0;
    curl(
        scene,
        Host::Internet,
        &["--noproxy", "*", "-o", &text(&beside), &format!("http://{server}:{port}/{path}")],
    )?;
    let length = std::fs::metadata(&through)?.len();
    let same = sh::output(sh::cmd("cmp").arg(&through).arg(&beside))?.status.success();
    std::fs::remove_file(&beside)?;
    Ok(json!({ "ok": same && length == bytes, "bytes": length, "same": same, "with": "curl" }))
}

/// Uploads the first bytes of what was downloaded; the server answers with their hash.
pub fn upload(scene: &Scene, bytes: u64) -> Result<Value> {
    let source = scene.dir.join("curl-through");
    let file = std::fs::File::options().write(true).open(&source)?;
    file.set_len(bytes).context("cutting the upload to its size")?;
    let own = sh::read(sh::cmd("sha256sum").arg(&source))?;
    let own = own.split_whitespace().next().unwrap_or_default().to_owned();
    let port = scene::port(&scene.lab, 80);
    let answer = curl(
        scene,
        Host::Client,
        &proxied(&[
            "-H",
            "Expect:",
            "-T",
            &text(&source),
            &format!("http://{}:{port}/upload", scene::WEB),
        ]),
    )?;
    let answer: Value = serde_json::from_str(&answer).context("the server's answer")?;
    std::fs::remove_file(&source)?;
    let ok = answer["sha256"] == own.as_str() && answer["count"] == bytes;
    Ok(json!({ "ok": ok, "bytes": answer["count"], "with": "curl" }))
}

fn proxied<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--noproxy", "", "--proxytunnel", "--proxy", scene::HTTP_PROXY];
    all.extend_from_slice(args);
    all
}

fn curl(scene: &Scene, host: Host, args: &[&str]) -> Result<String> {
    let mut command = scene.lab.on(host, "curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "120"]).args(args);
    sh::read(&mut command)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

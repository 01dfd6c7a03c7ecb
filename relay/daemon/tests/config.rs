//! Configuration: the examples load, and mistakes are told as the golden files say.
//!
//! `WEIR_BLESS=1 cargo test -p weir --test config` rewrites the golden files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir::config::Config;

#[test]
fn every_example_loads() {
    let dir = Path::new("../../configs");
    let mut loaded = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // Other programs keep their examples there too; a relay's has a [relay] section.
        let ours = path.extension().is_some_and(|extension| extension == "toml")
            && fs::read_to_string(&path).unwrap().lines().any(|line| line == "[relay]");
        if ours {
            Config::load(&path).unwrap_or_else(|report| panic!("{report}"));
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "only {loaded} examples found");
}

/// An example shows its defaults as comments; taking the comments off must change nothing.
#[test]
fn the_defaults_shown_in_the_example_are_the_defaults() {
    let path = Path::new("../../configs/relay.toml");
    let text = fs::read_to_string(path).unwrap();
    let is_setting = |line: &str| line.starts_with("# ") && line.contains(" = ");
    let shown: String = text
        .lines()
        .map(|line| {
            let skip = ["# workers", "# ipv4", "# ipv6"].iter().any(|key| line.starts_with(key));
            if is_setting(line) && !skip {
                format!("{}\n", &line[2..])
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let (given, spelt) =
        (Config::parse(&text, path).unwrap(), Config::parse(&shown, path).unwrap());
    assert_eq!(given.relay, spelt.relay);
    assert_eq!(given.log, spelt.log);
    assert_eq!(given.io, spelt.io);
    assert_eq!(given.xdp, spelt.xdp);
    assert_eq!(given.exit, spelt.exit);
    assert_eq!(given.dns, spelt.dns);
    assert_eq!(given.limits, spelt.limits);
    assert_eq!(given.settle, spelt.settle);
    assert_eq!(given.grants, spelt.grants);
    assert_eq!(given.tokens, spelt.tokens);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let names =
        ["unknown_keys", "wrong_values", "grants", "tokens", "syntax", "empty", "host", "hooks"];
    for name in names {
        let file = PathBuf::from(format!("tests/config/{name}.toml"));
        let output =
            Command::new(env!("CARGO_BIN_EXE_weir")).arg("check").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{name}");
        let told = stable(&String::from_utf8(output.stderr).unwrap());
        let golden = file.with_extension("err");
        if std::env::var_os("WEIR_BLESS").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(told, expected, "{}: see the head of this test", golden.display());
    }
}

/// The list of this host's interfaces differs from host to host.
fn stable(text: &str) -> String {
    let line = |line: &str| match line.split_once("this host has: ") {
        Some((before, _)) => format!("{before}this host has: ...\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn a_pasted_token_is_not_repeated() {
    let text = "[[grant]]\nname = \"a\"\ntoken_sha256 = \"hunter2-the-secret\"\n";
    let report = Config::parse(text, Path::new("x.toml")).unwrap_err().to_string();
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_missing_file_is_named() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "no-such.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no-such.toml: can't be read"), "{told}");
}

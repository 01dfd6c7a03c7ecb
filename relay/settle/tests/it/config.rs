//! The configuration file: the example loads, and every mistake is named at once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weir_settle::config::{Problem, parse};
use weir_settle::keys::Wallet;

use crate::common::{config, config_text, domain, terms};

fn problems(text: &str) -> Vec<Problem> {
    parse(text).expect_err("this must not parse")
}

fn valid() -> String {
    config_text(domain(), &terms(), "", "http://127.0.0.1:8545")
}

#[test]
fn the_commented_example_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/settle.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let example = parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(example.channels.len(), 1);
    // Each commented-out key is a real one, and its value is the default.
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key)
                if key.contains(" = ") && !key.starts_with("password") && !key.starts_with(' ') =>
            {
                key
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(parse(&all).unwrap_or_else(|problems| panic!("{problems:#?}")), example);
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = "\
exit_id = \"0x12\"
colour = \"red\"
[files]
socket_mode = \"0777\"
[admin]
listen = \"0.0.0.0:9610\"
[chain]
rpc = \"ftp://node\"
chain_id = -1
escrow = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"
confirmation = 3
[policy]
claim_batch_max = 100000
";
    let found = problems(text);
    let places: Vec<(usize, usize)> = found.iter().map(|p| (p.line, p.column)).collect();
    let about = |line: usize| {
        let problem = found.iter().find(|p| p.line == line);
        problem.unwrap_or_else(|| panic!("nothing about line {line}: {found:#?}"))
    };
    assert!(about(1).message.contains("exit_id"));
    assert!(about(2).message.contains("unknown key `colour`"));
    assert!(about(4).message.contains("0777"));
    assert!(about(6).message.contains("loopback"));
    assert!(found.iter().any(|p| p.message.contains("`key` is missing in [chain]")));
    assert!(about(8).message.contains("`rpc` number 1: no http:// or https:// URL"));
    assert!(about(9).message.contains("chain_id"));
    assert_eq!(about(11).hint, "did you mean `confirmations`?");
    assert!(about(13).message.contains("claim_batch_max"));
    assert!(places.is_sorted(), "in the order of the file: {places:?}");
    assert!(places.contains(&(4, 15)), "at the value: {places:?}");
}

/// The relay gives no second window after a crash because it hears in time how a lane stands.
#[test]
fn news_that_come_too_late_for_a_killed_relay_are_refused_with_the_reason() {
    let with = |ms: u64| valid().replace("interval_ms = 5", &format!("interval_ms = {ms}"));
    assert!(parse(&with(1_000)).is_ok());
    let found = problems(&with(2_000));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains("`interval_ms` is 2000, more than 1000"), "{found:#?}");
    assert!(found[0].hint.contains("the credit window twice"), "{found:#?}");
}

#[test]
fn statements_without_a_key_to_sign_them_are_refused_where_they_are_asked_for() {
    let bond = "[duties]\nbond = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\n";
    let found = problems(&format!("{}\n{bond}", valid()));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains("there is no [usage] key"), "{found:#?}");
    assert!(parse(&format!("{}\n[usage]\nkey = \"/k\"\n{bond}", valid())).is_ok());
}

#[test]
fn an_api_key_in_an_endpoint_is_in_no_message_and_no_debug_output() {
    let with = |url: &str| config_text(domain(), &terms(), "", url);
    let found = problems(&with("wss://node.example/v3/SECRET"));
    assert!(found.iter().any(|p| p.message.contains("no http:// or https:// URL")), "{found:#?}");
    assert!(!format!("{found:?}").contains("SECRET"), "{found:#?}");
    let config = parse(&with("https://user:SECRET@node.example/v3/SECRET?key=SECRET")).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("https://node.example") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn a_channel_whose_terms_do_not_hash_to_its_id_is_refused_with_the_right_id() {
    let text = valid().replace("withdraw_delay_s = 3600", "withdraw_delay_s = 3601");
    let found = problems(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("they hash to 0x"), "{}", found[0]);
    assert!(text.lines().nth(found[0].line - 1).unwrap().starts_with("id = "));
}

#[test]
fn syntax_errors_have_a_place_too() {
    let found = problems("exit_id = \n[chain\n");
    assert_eq!(found[0].line, 1, "{found:?}");
    assert!(problems(&valid().replace("[chain]", "[chain]\nrpc = \"http://twice\""))[0].line > 1);
}

#[test]
fn amounts_may_exceed_what_toml_integers_hold() {
    let text = valid().replace(
        "price_per_gib = \"1073741824\"",
        "price_per_gib = \"123_456_789_012_345_678_901_234\"",
    );
    let price = parse(&text).unwrap().channels[0].price;
    assert_eq!(price.units_per_gib(), 123_456_789_012_345_678_901_234);
    assert_ne!(price, config().channels[0].price);
}

#[test]
fn keys_come_from_private_files_only_and_are_never_shown() {
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let write = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&format!("0x{KEY}\n"), 0o600);
    let wallet = Wallet::load(&path, None).unwrap();
    // The first account of every development chain.
    assert_eq!(wallet.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert!(!format!("{wallet:?}").to_lowercase().contains(&KEY[..8]));

    for (text, mode, expected) in [
        (KEY, 0o644, "chmod 0600"),
        (KEY, 0o602, "chmod 0600"),
        (&KEY[..63], 0o600, "64 hexadecimal digits"),
        ("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ffzz", 0o600, "64 hex"),
        (&"0".repeat(64), 0o600, "not a secp256k1"),
        ("{\"crypto\": {}}", 0o600, "password_file"),
    ] {
        write(text, mode);
        let error = Wallet::load(&path, None).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains(&KEY[..16]), "a key in an error: {error}");
        assert_eq!(error.exit_code(), 78);
    }
}

#[test]
fn a_keystore_opens_with_its_password() {
    // The scrypt test vector of the Web3 Secret Storage definition has the password
    // "testpassword"; it is made here with light parameters to keep the test fast.
    let directory = tempfile::tempdir().unwrap();
    let mut made = std::process::Command::new(env!("CARGO_BIN_EXE_weir-settle"));
    let keystore = directory.path().join("keystore");
    std::fs::write(
        &keystore,
        r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#,
    )
    .unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "testpassword\n").unwrap();
    for path in [&keystore, &password] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let wallet = Wallet::load(&keystore, Some(&password)).unwrap();
    assert_eq!(
        wallet.address().to_string().to_lowercase(),
        "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b"
    );
    std::fs::write(&password, "wrong").unwrap();
    assert!(Wallet::load(&keystore, Some(&password)).is_err());

    // And the command line says so with sysexits' EX_CONFIG.
    let file = directory.path().join("settle.toml");
    std::fs::write(&file, "exit_id = 1\n").unwrap();
    let output = made.arg("check").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("settle.toml:1:11"));
}

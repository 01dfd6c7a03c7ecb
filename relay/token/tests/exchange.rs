//! An issuer and a customer, by files and by the real binary.

use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-token"));
    command.current_dir(dir).args(args.split_whitespace()).output().unwrap()
}

fn good(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn bad(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(!output.status.success(), "{args}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn tokens_are_issued_within_the_quota_and_put_into_a_wallet() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = good(dir, "keygen issuer.pem");
    assert_eq!(good(dir, "key issuer.pem"), key);
    assert!(bad(dir, "keygen issuer.pem").contains("exists"));
    let exit = "5e".repeat(32);
    let request = format!("request --issuer issuer.example --key {key} --exit {exit}");
    good(dir, &format!("{request} --count 3 --out requests --pending pending"));
    assert!(bad(dir, &format!("{request} --out other --pending pending")).contains("exists"));
    let issue = "issue --key issuer.pem --ledger ledger --customer alice --requests requests";
    assert!(bad(dir, &format!("{issue} --quota 2 --out responses")).contains("had 0 of 2"));
    assert!(!dir.join("responses").exists());
    good(dir, &format!("{issue} --quota 3 --out responses"));
    assert!(bad(dir, &format!("{issue} --quota 3 --out again")).contains("had 3 of 3"));
    let issued = "issued --key issuer.pem --ledger ledger --bytes 1000";
    assert_eq!(good(dir, issued), "3 tokens, 3000 bytes");
    // Responses in another order are not these requests'.
    let finalize = "finalize --pending pending --wallet wallet --responses";
    let responses = std::fs::read_to_string(dir.join("responses")).unwrap();
    let reversed: Vec<&str> = responses.lines().rev().collect();
    std::fs::write(dir.join("reversed"), reversed.join("\n")).unwrap();
    assert!(bad(dir, &format!("{finalize} reversed")).contains("signature"));
    good(dir, &format!("{finalize} responses"));
    assert_eq!(good(dir, "wallet wallet"), "3 good now, 0 later");
    assert!(!dir.join("pending").exists());
}

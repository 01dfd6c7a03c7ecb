//! Blind access from the issuer's key to its channel: tokens that were really blinded buy service,
//! once, and what they bought is paid by the issuer, who can't know whose it was.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};

use crate::chain::text_of;
use crate::lab::binary::built;
use crate::lab::target::tcp_echo;
use crate::lab::{Client, Relay, http, wait_for};
use crate::market::{EXIT, Market, PRICE_PER_GIB};
use crate::payer::{echo, number, options, run, settle};

const TOKEN_BYTES: u64 = 1 << 20;
const WINDOW: u64 = 16 << 20;

/// `weir-token` in a directory of its own.
fn token_tool(dir: &Path, words: &str) -> Output {
    let mut command = Command::new(built("weir-token"));
    command.current_dir(dir).args(words.split_whitespace()).output().unwrap()
}

fn done(dir: &Path, words: &str) -> String {
    text_of(&token_tool(dir, words)).trim().to_owned()
}

/// A wallet of so many tokens, signed blindly by the issuer whose files lie in the same directory.
fn buy(dir: &Path, key: &str, wallet: &str, count: u64) {
    let files = format!("--out {wallet}.requests --pending {wallet}.pending");
    let bound = format!("--issuer issuer.example --key {key} --exit {EXIT}");
    done(dir, &format!("request {bound} --count {count} {files}"));
    let issue = "issue --key issuer.pem --ledger ledger --customer alice --quota 100";
    done(dir, &format!("{issue} --requests {wallet}.requests --out {wallet}.responses"));
    let finalize = format!("finalize --pending {wallet}.pending --responses {wallet}.responses");
    done(dir, &format!("{finalize} --wallet {wallet}"));
    assert_eq!(done(dir, &format!("wallet {wallet}")), format!("{count} good now, 0 later"));
}

fn client(relay: &Relay, wallet: &Path) -> Result<Client, String> {
    relay.client_by("127.0.0.1", 1, ["--wallet", wallet.to_str().unwrap()], "")
}

fn carry(relay: &Relay, wallet: &Path, bytes: usize) {
    let client = client(relay, wallet).unwrap_or_else(|log| panic!("{log}"));
    let target = tcp_echo("127.0.0.1");
    echo(wait_for("a tunnel", || crate::lab::socks::connect(client.socks, target).ok()), bytes);
}

fn outcomes(relay: &Relay, outcome: &str) -> u64 {
    let (_, page) = http(relay.admin, "GET", "/metrics").unwrap();
    let name = format!("weir_tokens_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// The issuer's client, which pays for its customers; it ends with its value.
struct IssuerClient {
    child: Child,
    admin: String,
}

impl Drop for IssuerClient {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn blinded_tokens_are_spent_once_and_paid_by_their_issuer() {
    let Some(market) = Market::start() else { return };
    let dir = market.chain.path("issuer");
    fs::create_dir(&dir).unwrap();
    let key = done(&dir, "keygen issuer.pem");
    let mut relay = market.relay(
        WINDOW,
        &format!(
            "[access.tokens]\ndir = \"{}\"\nbytes = {TOKEN_BYTES}\n\
             [[access.tokens.issuer]]\nname = \"issuer.example\"\nkey = \"{key}\"\n\
             channel = \"{}\"\nlane = 0\n",
            dir.join("spent").display(),
            market.channel,
        ),
    );
    buy(&dir, &key, "wallet", 4);
    buy(&dir, &key, "single", 1);
    let issued =
        done(&dir, &format!("issued --key issuer.pem --ledger ledger --bytes {TOKEN_BYTES}"));
    assert_eq!(issued, format!("5 tokens, {} bytes", 5 * TOKEN_BYTES));
    fs::write(dir.join("sold"), (5 * TOKEN_BYTES).to_string()).unwrap();

    // A token and a half: one of them is spent, and further ones while the tunnel is open.
    let bytes = 3 * TOKEN_BYTES as usize / 4;
    carry(&relay, &dir.join("wallet"), bytes);
    relay.totals("tcp", 1);
    let accepted = outcomes(&relay, "accepted");
    assert!((2..=4).contains(&accepted), "{accepted}");
    let left = done(&dir, "wallet wallet");
    assert_eq!(left, format!("{} good now, 0 later", 4 - accepted));

    // The issuer signs for what it sold, and for no more than was used.
    let mut pays = options(&market, 0, PRICE_PER_GIB);
    pays.extend(["--payer-sold".to_owned(), dir.join("sold").to_str().unwrap().to_owned()]);
    let (child, _, admin) = run(&relay, 0, pays).unwrap_or_else(|log| panic!("{log}"));
    let issuer = IssuerClient { child, admin };
    let mut used = 2 * bytes as u64;
    let paid = |used: u64| {
        wait_for("all bytes to be reported", || {
            (number(&market.lane(0)["used"]) == used).then_some(())
        });
        settle(&issuer.admin);
        market.settle();
        market.has_claimed(0, used.into());
        market.has_earned(used.into());
    };
    paid(used);

    // A copy of a token is worth nothing once that is spent, and not after a crash either.
    fs::copy(dir.join("single"), dir.join("copy")).unwrap();
    fs::copy(dir.join("single"), dir.join("second-copy")).unwrap();
    let is_spent = |relay: &Relay, copy: &str| {
        let said = client(relay, &dir.join(copy)).err().expect("a refusal");
        assert!(said.contains("the relay refused the first token"), "{said}");
        assert_eq!(outcomes(relay, "spent_before"), 1);
    };
    let spender = client(&relay, &dir.join("single")).unwrap_or_else(|log| panic!("{log}"));
    is_spent(&relay, "copy");
    relay.child.kill().unwrap();
    relay.child.wait().unwrap();
    drop(spender);
    relay.restart();
    is_spent(&relay, "second-copy");

    // Those that weren't spent are good as before, and so is the issuer's money.
    let more = 100_000;
    if accepted == 4 {
        buy(&dir, &key, "wallet", 1);
    }
    carry(&relay, &dir.join("wallet"), more);
    relay.totals("tcp", 1);
    used += 2 * more as u64;
    paid(used);
    assert_eq!(outcomes(&relay, "spent_before"), 1);
}

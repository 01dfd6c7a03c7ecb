//! `weir-token`: keys, requests, signatures and wallets of blind access.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use weir_blind::{Binding, Epoch, Epochs, IssuerKey, Wallet, base64url_decode, base64url_encode};
use weir_token::serve::{Listen, Listener, Server, bearer_token, customer_line};
use weir_token::{Issuer, Ledger, Pending};

/// Blind tokens for exits of Weir: issue them, or get them signed
#[derive(Debug, Parser)]
#[command(name = "weir-token", version)]
enum Command {
    /// Issuer: make a key; use one per exit
    Keygen {
        #[arg(value_name = "FILE")]
        key: PathBuf,
    },
    /// Issuer: print the public key, for customers and for the exit's configuration
    Key {
        #[arg(value_name = "FILE")]
        key: PathBuf,
    },
    #[command(flatten)]
    Exchange(Exchange),
    /// Issuer: sign over HTTP (RFC 9578), behind a proxy that speaks TLS
    Serve {
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Counts by customer
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
        /// A line for each customer, as `weir-token customer` prints it; read again each time
        #[arg(long, value_name = "FILE")]
        customers: PathBuf,
        /// ADDRESS:PORT on loopback, or unix:PATH
        #[arg(long, value_name = "WHERE")]
        listen: Listen,
    },
    /// Issuer: make a customer's bearer token, and the line for the file of customers
    Customer {
        name: String,
        /// Tokens that this customer may have of one key
        #[arg(long)]
        quota: u64,
    },
    /// Client: say how many tokens a wallet holds
    Wallet {
        #[arg(value_name = "FILE")]
        wallet: PathBuf,
    },
    /// Issuer: say how many tokens were signed, and what an exit may bill for them at most
    Issued {
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
        /// What one token buys at the exit
        #[arg(long, value_name = "BYTES")]
        bytes: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Exchange {
    /// Client: make requests for tokens
    Request {
        /// The issuer's name, as in the exit's configuration
        #[arg(long)]
        issuer: String,
        /// The issuer's public key, as `weir-token key` prints it
        #[arg(long)]
        key: String,
        /// The exit's id, 64 hex digits
        #[arg(long)]
        exit: String,
        /// Seconds of the exit's epochs
        #[arg(long, default_value_t = 86_400)]
        epoch_s: u64,
        /// Epochs from now: 0 is the current one
        #[arg(long, default_value_t = 0)]
        ahead: u64,
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// Where to write what the issuer gets
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where to keep what it must never get
        #[arg(long, value_name = "FILE")]
        pending: PathBuf,
    },
    /// Issuer: sign a customer's requests
    Issue {
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[arg(long, value_name = "FILE")]
        requests: PathBuf,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Counts by customer
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
        #[arg(long)]
        customer: String,
        /// Tokens that this customer may have of this key
        #[arg(long)]
        quota: u64,
    },
    /// Client: make tokens of the issuer's signatures, and put them into a wallet
    Finalize {
        #[arg(long, value_name = "FILE")]
        pending: PathBuf,
        #[arg(long, value_name = "FILE")]
        responses: PathBuf,
        #[arg(long, value_name = "FILE")]
        wallet: PathBuf,
    },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Keygen { key } => {
            let issuer = Issuer::generate()?;
            issuer.save(&key)?;
            println!("{}", issuer.key().to_base64url());
        }
        Command::Key { key } => println!("{}", Issuer::load(&key)?.key().to_base64url()),
        Command::Exchange(exchange) => exchange.run()?,
        Command::Serve { key, ledger, customers, listen } => {
            let server = Server::new(Issuer::load(&key)?, customers, ledger)?;
            let listener = Listener::open(&listen)?;
            println!("listening on {listener}");
            server.run(&listener);
        }
        Command::Customer { name, quota } => {
            let token = bearer_token()?;
            println!("for the customer: {token}");
            println!("for the file:     {}", customer_line(&name, &token, quota)?);
        }
        Command::Wallet { wallet } => {
            let (now, later) = Wallet::new(&wallet).count(now_s())?;
            println!("{now} good now, {later} later");
        }
        Command::Issued { key, ledger, bytes } => {
            let issued = Ledger::open(&ledger)?.issued(Issuer::load(&key)?.key());
            println!("{issued} tokens, {} bytes", u128::from(issued) * u128::from(bytes));
        }
    }
    Ok(())
}

impl Exchange {
    fn run(self) -> Result<()> {
        match self {
            Exchange::Request { issuer, key, exit, epoch_s, ahead, count, out, pending } => {
                let key = IssuerKey::from_base64url(&key).context("--key")?;
                let exit = exit_id(&exit).context("--exit: not 64 hex digits")?;
                anyhow::ensure!(epoch_s > 0, "--epoch-s: an epoch has at least a second");
                anyhow::ensure!(!pending.exists(), "{}: exists already", pending.display());
                let epochs = Epochs { length_s: epoch_s, overlap_s: 0 };
                let epoch = Epoch(epochs.at(now_s()).0.saturating_add(ahead));
                let binding = Binding { issuer_name: issuer, exit, epochs, epoch };
                let (made, requests) = Pending::make(&key, &binding, count)?;
                made.save(&pending)?;
                std::fs::write(&out, requests).with_context(|| out.display().to_string())?;
            }
            Exchange::Issue { key, requests, out, ledger, customer, quota } => {
                let issuer = Issuer::load(&key)?;
                let requests = read(&requests)?;
                let decoded = requests.lines().map(|line| base64url_decode(line.trim()));
                let decoded: Option<Vec<_>> = decoded.collect();
                let decoded = decoded.context("requests: a line is not base64url")?;
                decoded.iter().try_for_each(|request| issuer.check(request))?;
                // Counted before they are signed: a crash may count too many, never too few.
                let wanted = decoded.len() as u64;
                Ledger::open(&ledger)?.charge(issuer.key(), &customer, wanted, quota)?;
                let mut responses = String::new();
                for request in &decoded {
                    responses.push_str(&base64url_encode(&issuer.sign(request)?));
                    responses.push('\n');
                }
                std::fs::write(&out, responses).with_context(|| out.display().to_string())?;
            }
            Exchange::Finalize { pending, responses, wallet } => {
                let entries = Pending::load(&pending)?.finalize(&read(&responses)?)?;
                Wallet::new(&wallet).put(&entries)?;
                std::fs::remove_file(&pending).context("the pending requests can't be removed")?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn exit_id(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut id = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

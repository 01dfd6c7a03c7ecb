//! `audit`: challenge an exit, show what it was challenged for, verify what it shows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_settle::audit::{self, Hidden, Own, Shown};
use weir_settle::chain::challenge::Challenges;
use weir_settle::chain::nodes::Nodes;
use weir_settle::config::Endpoint;
use weir_settle::evidence::Statements;
use weir_settle::keys::{Secret, random32};
use weir_settle::storage::ReadOnly;
use weir_usage::bond::BondDomain;
use weir_usage::merkle::Anchor;
use weir_usage::{Address, Digest};

use super::evidence::UsageKey;
use super::lab::{connect, nodes, wallet};
use super::{Chain, ConfigFile, load};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Have a random leaf of an anchored epoch challenged on chain, for a fee; or without --rpc,
    /// make up a seed for `prove` and `verify`. Each call is another challenge.
    Challenge(Challenge),
    /// Show the leaves of the journal that a seed picks, as a file; or answer a challenge on chain.
    /// Works beside a running sidecar; answering needs a key of its own.
    Prove(Prove),
    /// Check a file of leaves, or a list of hidden amounts with --sum.
    Verify(Verify),
    /// Commit to the amounts of an epoch: sum.json for everybody, and a file for each lane's payer.
    Commit(Commit),
    /// Have it recorded on chain that a challenge wasn't answered in time.
    Expire {
        #[command(flatten)]
        chain: Chain,
        /// The UsageAnchor contract.
        #[arg(long)]
        anchor: Address,
        /// Number of the challenge.
        challenge: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Challenge {
    /// The accounting period.
    #[arg(long)]
    epoch: u64,
    /// JSON-RPC endpoint, or where its URL is. Several, each after --rpc, must agree.
    #[arg(long, requires_all = ["key_file", "anchor", "exit"])]
    rpc: Vec<Endpoint>,
    /// File with the key that pays the fee and the gas.
    #[arg(long, requires = "rpc")]
    key_file: Option<Secret>,
    /// File with the keystore's password.
    #[arg(long, requires = "rpc")]
    password_file: Option<Secret>,
    /// Send nothing: say what it would cost.
    #[arg(long, requires = "rpc")]
    dry_run: bool,
    /// The UsageAnchor contract.
    #[arg(long, requires = "rpc")]
    anchor: Option<Address>,
    /// The exit: the address that anchored.
    #[arg(long, requires = "rpc")]
    exit: Option<Address>,
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    #[command(flatten)]
    config: ConfigFile,
    /// The accounting period, off chain.
    #[arg(long, conflicts_with = "challenge", requires_all = ["seed", "out"])]
    epoch: Option<u64>,
    /// What the verifier picks leaves by.
    #[arg(long)]
    seed: Option<Digest>,
    /// How many leaves.
    #[arg(long, default_value_t = 20)]
    count: u32,
    /// Where the leaves are written to; must not exist.
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Number of the challenge on chain that is answered instead.
    #[arg(long, required_unless_present = "epoch", requires = "key_file")]
    challenge: Option<u64>,
    /// File with the key that pays for the answer; not the running sidecar's.
    #[arg(long)]
    key_file: Option<Secret>,
    /// File with the keystore's password.
    #[arg(long)]
    password_file: Option<Secret>,
    /// Send nothing: say what the answer on chain would cost.
    #[arg(long, requires = "challenge")]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A file of leaves.
    #[arg(required_unless_present = "sum", requires_all = ["seed", "root", "total"])]
    leaves: Option<PathBuf>,
    /// A list of hidden amounts, as `commit` makes it.
    #[arg(long, conflicts_with = "leaves", requires = "total")]
    sum: Option<PathBuf>,
    /// One's own amount, which must be in the list.
    #[arg(long, requires = "sum")]
    own: Option<PathBuf>,
    /// The accounting period; 0 means the file's.
    #[arg(long, default_value_t = 0)]
    epoch: u64,
    /// The seed that the leaves were asked for with.
    #[arg(long)]
    seed: Option<Digest>,
    /// How many leaves were asked for.
    #[arg(long, default_value_t = 20)]
    count: u32,
    /// The anchored root.
    #[arg(long)]
    root: Option<Digest>,
    /// The anchored total, in token units.
    #[arg(long)]
    total: Option<u128>,
    /// JSON-RPC endpoint or where its URL is, to look whether root and total are anchored. Several,
    /// each after --rpc, must agree.
    #[arg(long, requires_all = ["anchor", "exit"])]
    rpc: Vec<Endpoint>,
    /// The UsageAnchor contract.
    #[arg(long)]
    anchor: Option<Address>,
    /// The exit: the address that anchored.
    #[arg(long)]
    exit: Option<Address>,
}

#[derive(Debug, Args)]
pub(crate) struct Commit {
    #[command(flatten)]
    config: ConfigFile,
    /// The accounting period.
    #[arg(long)]
    epoch: u64,
    /// A directory for the files; they must not exist.
    #[arg(short, long)]
    out: PathBuf,
    #[command(flatten)]
    key: UsageKey,
    /// The OperatorBond contract: the usage key signs the list as a statement for it, so that
    /// showing two lists is an equivocation.
    #[arg(long)]
    bond: Option<Address>,
}

pub(super) async fn run(command: Audit) -> Result<ExitCode> {
    match command {
        Audit::Challenge(command) => challenge(command).await,
        Audit::Prove(command) => prove(&command).await,
        Audit::Verify(command) => verify(&command).await,
        Audit::Commit(command) => commit(&command),
        Audit::Expire { chain, anchor, challenge } => {
            let (nodes, wallet) = connect(&chain)?;
            let challenges = Challenges::at(nodes, anchor);
            let tx = challenges.expire(&wallet, challenge).await?;
            after(&challenges, challenge, tx).await
        }
    }
}

async fn challenge(command: Challenge) -> Result<ExitCode> {
    let Challenge { epoch, rpc, key_file, password_file, dry_run, anchor, exit } = command;
    let (false, Some(anchor), Some(exit)) = (rpc.is_empty(), anchor, exit) else {
        return print(&json!({ "epoch": epoch, "seed": Digest(random32()?) }));
    };
    let (nodes, wallet) = connect(&Chain { rpc, key_file, password_file, dry_run })?;
    let challenges = Challenges::at(nodes, anchor);
    let id = challenges.open(&wallet, exit, epoch).await?;
    print(&serde_json::to_value(challenges.challenge(id).await?)?)
}

async fn prove(command: &Prove) -> Result<ExitCode> {
    let config = load(&command.config.file)?;
    let storage = ReadOnly::open(&config.journal)?;
    if let (Some(epoch), Some(seed), Some(out)) = (command.epoch, command.seed, &command.out) {
        let (_, anchor) = audit::find(&storage, epoch)?;
        Shown::make(&anchor, seed, command.count)?.write(out)?;
        return print(
            &json!({ "epoch": epoch, "root": anchor.root, "total": anchor.total.to_string() }),
        );
    }
    let Some(id) = command.challenge else {
        bail!("--epoch with --seed and --out, or --challenge with --key-file");
    };
    let contract = config.chain.anchor.context("the configuration names no UsageAnchor")?;
    let wallet = wallet(&command.key_file, &command.password_file, command.dry_run)?;
    let challenges = Challenges::at(Nodes::configured(&config.chain)?, contract);
    let challenge = challenges.challenge(id).await?;
    let (_, anchor) = audit::find(&storage, challenge.epoch)?;
    let tx = challenges.answer(&wallet, id, &anchor).await?;
    after(&challenges, id, tx).await
}

async fn verify(command: &Verify) -> Result<ExitCode> {
    let total = command.total.context("--total is missing")?;
    let epoch = |of_file: u64| if command.epoch == 0 { of_file } else { command.epoch };
    let (anchor, checked) = if let Some(list) = &command.sum {
        let list = Hidden::read(list)?;
        list.verify(total)?;
        let own = command.own.as_deref().map(Own::read).transpose()?;
        if let Some(own) = &own {
            list.verify_own(own)?;
        }
        let anchor = Anchor { epoch: epoch(list.epoch), ..list.anchor() };
        if command.root.is_some_and(|root| root != anchor.root) || anchor.epoch != list.epoch {
            bail!("audit: the list is of epoch {} and root {}", list.epoch, list.root);
        }
        let own = own.map(|own| own.opening.amount.to_string());
        (anchor, json!({ "commitments": list.commitments.len(), "own_amount": own }))
    } else {
        let path = command.leaves.as_deref().context("a file of leaves is missing")?;
        let (Some(root), Some(seed)) = (command.root, command.seed) else {
            bail!("--root and --seed are missing");
        };
        let shown = Shown::read(path)?;
        let anchor = Anchor { epoch: epoch(shown.epoch), root, total };
        shown.verify(&anchor, seed, command.count)?;
        (anchor, json!({ "leaves": shown.leaves, "shown": shown.proofs.len() }))
    };
    let anchored = is_anchored(command, &anchor).await?;
    if anchored == Some(false) {
        bail!("audit: root {} and total {total} aren't what the exit anchored", anchor.root);
    }
    let epoch = anchor.epoch;
    print(&json!({ "holds": true, "epoch": epoch, "anchored": anchored, "checked": checked }))
}

/// `None` if nobody asked the chain.
async fn is_anchored(command: &Verify, anchor: &Anchor) -> Result<Option<bool>> {
    let rpc = &command.rpc;
    let (false, Some(contract), Some(exit)) = (rpc.is_empty(), command.anchor, command.exit) else {
        return Ok(None);
    };
    Ok(Some(Challenges::at(nodes(rpc)?, contract).is_anchored(exit, anchor).await?))
}

fn commit(command: &Commit) -> Result<ExitCode> {
    let config = load(&command.config.file)?;
    let storage = ReadOnly::open(&config.journal)?;
    let (header, anchor) = audit::find(&storage, command.epoch)?;
    let (list, owns) = Hidden::make(&header, &anchor)?;
    if command.bond.is_some() && !audit::is_final(&storage, &anchor)? {
        bail!(
            "audit: the anchor of epoch {} isn't final on chain, and what may still change isn't \
             signed; look at `weir-settle status`, or leave out --bond",
            anchor.epoch
        );
    }
    let file = |name: &str| -> PathBuf { Path::new(&command.out).join(name) };
    list.write(&file("sum.json"))?;
    for own in &owns {
        own.write(&file(&format!("own-{}-{}.json", own.channel, own.lane)))?;
    }
    if let Some(bond) = command.bond {
        let key = command.key.open(&config)?.context("there is no usage key to sign with")?;
        let domain = BondDomain { chain_id: config.chain.domain.chain_id, bond };
        let said = list.statement(&config.exit);
        Statements::of_one(said, domain, &key)?.write(&file("statement.json"))?;
    }
    let total = anchor.total.to_string();
    print(
        &json!({ "epoch": anchor.epoch, "root": anchor.root, "total": total, "lanes": owns.len() }),
    )
}

async fn after(challenges: &Challenges, id: u64, tx: Option<String>) -> Result<ExitCode> {
    let challenge = challenges.challenge(id).await?;
    print(&json!({ "challenge": challenge, "transaction": tx }))
}

fn print(value: &Value) -> Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(ExitCode::SUCCESS)
}

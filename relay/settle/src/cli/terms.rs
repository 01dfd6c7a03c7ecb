//! `terms`: making, signing, showing, opening and closing service-level agreements.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use weir_settle::agreement;
use weir_settle::chain::bond::{Bond, Done};
use weir_settle::config::{Endpoint, KeyConfig};
use weir_settle::keys::{Secret, Wallet};
use weir_usage::Address;
use weir_usage::bond::{Agreement, BondDomain};

use super::Chain;
use super::lab::{connect, nodes};

#[derive(Debug, Subcommand)]
pub(crate) enum Terms {
    /// Make an unsigned agreement from terms in TOML or JSON; what makes no sense is named. A
    /// missing salt is made up.
    Make {
        /// The terms: the fields of `SlaTerms`, as in configs/sla-terms.toml.
        terms: PathBuf,
        /// The chain's id.
        #[arg(long)]
        chain_id: u64,
        /// The OperatorBond contract.
        #[arg(long)]
        bond: Address,
        /// Where the agreement is written to; must not exist.
        #[arg(short, long)]
        out: PathBuf,
    },
    /// Sign an agreement as its payer or operator, whichever the key is.
    Sign {
        /// The agreement.
        file: PathBuf,
        /// File with the key, or credential:NAME.
        #[arg(long)]
        key_file: Secret,
        /// File with the keystore's password, or credential:NAME.
        #[arg(long)]
        password_file: Option<Secret>,
    },
    /// Show an agreement, who has signed it, and with an endpoint its state on chain.
    Show {
        /// The agreement.
        file: PathBuf,
        /// JSON-RPC endpoint, or where its URL is. Several, each after --rpc, must agree.
        #[arg(long)]
        rpc: Vec<Endpoint>,
    },
    /// Open an agreement that both sides have signed; the key's account brings the bond. Safe to
    /// repeat.
    Open {
        /// The agreement.
        file: PathBuf,
        #[command(flatten)]
        chain: Chain,
        /// Mint the bond first; works with the test token only.
        #[arg(long)]
        mint: bool,
    },
    /// Have so much in the bond of an open agreement; anybody may add to it. Safe to repeat.
    Fund {
        /// The agreement.
        file: PathBuf,
        #[command(flatten)]
        chain: Chain,
        /// Token units that are to be there.
        #[arg(long)]
        balance: u128,
        /// Mint what is missing first; works with the test token only.
        #[arg(long)]
        mint: bool,
    },
    /// Close an agreement and have what is left of the bond paid out: by anybody when the time for
    /// verdicts is over, by the payer at any time.
    Close {
        /// The agreement.
        file: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
}

pub(super) async fn run(command: Terms) -> Result<ExitCode> {
    match command {
        Terms::Make { terms, chain_id, bond, out } => {
            let terms = agreement::read_terms(&terms)?;
            let agreement = Agreement::new(BondDomain { chain_id, bond }, terms)?;
            agreement::create(&out, &agreement)?;
            print(&agreement, None)
        }
        Terms::Sign { file, key_file, password_file } => {
            let mut agreement = agreement::read(&file)?;
            agreement.terms.check()?;
            let wallet = Wallet::open(&KeyConfig { key: key_file, password: password_file })?;
            let digest = agreement.terms.digest(&agreement.domain);
            let side = agreement.put(wallet.sign_digest(&digest)?)?;
            agreement::replace(&file, &agreement)?;
            eprintln!("weir-settle: signed as the {side}");
            Ok(ExitCode::SUCCESS)
        }
        Terms::Show { file, rpc } => {
            let agreement = agreement::read(&file)?;
            let state = if rpc.is_empty() {
                None
            } else {
                let bond = Bond::of(nodes(&rpc)?, agreement.domain).await?;
                Some(serde_json::to_value(bond.sla(agreement.id()).await?)?)
            };
            print(&agreement, state)
        }
        Terms::Open { file, chain, mint } => {
            let (agreement, bond, wallet) = ready(&file, &chain).await?;
            let done = bond.open_sla(&wallet, &agreement, mint).await?;
            after(&bond, &agreement, &done).await
        }
        Terms::Fund { file, chain, balance, mint } => {
            let (agreement, bond, wallet) = ready(&file, &chain).await?;
            let done = bond.fund_sla(&wallet, &agreement.terms, balance, mint).await?;
            after(&bond, &agreement, &done).await
        }
        Terms::Close { file, chain } => {
            let (agreement, bond, wallet) = ready(&file, &chain).await?;
            let done = bond.close_sla(&wallet, &agreement.terms).await?;
            after(&bond, &agreement, &done).await
        }
    }
}

async fn ready(file: &Path, chain: &Chain) -> Result<(Agreement, Bond, Wallet)> {
    let agreement = agreement::read(file)?;
    let (nodes, wallet) = connect(chain)?;
    let bond = Bond::of(nodes, agreement.domain).await?;
    Ok((agreement, bond, wallet))
}

async fn after(bond: &Bond, agreement: &Agreement, done: &Done) -> Result<ExitCode> {
    let sla = bond.sla(agreement.id()).await?;
    let out = json!({ "agreement": sla, "transactions": done.transactions });
    println!("{}", serde_json::to_string_pretty(&out)?);
    Ok(ExitCode::SUCCESS)
}

/// Who has signed is checked, never taken from the file.
fn print(agreement: &Agreement, state: Option<serde_json::Value>) -> Result<ExitCode> {
    let digest = agreement.terms.digest(&agreement.domain);
    let signed = |signature: Option<weir_usage::Signature>, by| match signature {
        None => "not yet".to_owned(),
        Some(signature) => match signature.verify(&digest, by) {
            Ok(()) => "signed".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    let flaw = agreement.terms.check().err().map(|e| e.to_string());
    let out = json!({
        "id": agreement.id(),
        "domain": agreement.domain,
        "terms": agreement.terms,
        "flaw": flaw,
        "payer": signed(agreement.payer_signature, agreement.terms.payer),
        "operator": signed(agreement.operator_signature, agreement.terms.operator),
        "on_chain": state,
    });
    println!("{}", serde_json::to_string_pretty(&out)?);
    Ok(ExitCode::SUCCESS)
}

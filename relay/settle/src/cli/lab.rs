//! `deploy` and `channel open`: no sidecar needed.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use weir_settle::chain::contracts;
use weir_settle::chain::deploy::{self, Contract};
use weir_settle::chain::nodes::Nodes;
use weir_settle::chain::rpc;
use weir_settle::config::{Endpoint, KeyConfig};
use weir_settle::keys::{Secret, Wallet, random32};
use weir_usage::{Address, ChannelTerms, Domain};

use super::{Chain, Deploy, Open};

pub(super) async fn deploy(args: &Deploy) -> Result<ExitCode> {
    if !args.verify.is_empty() {
        return verify(args).await;
    }
    let (nodes, wallet) = connect(&args.chain)?;
    let mut contracts = vec![Contract::ExitEscrow, Contract::UsageAnchor, Contract::OperatorBond];
    contracts.extend(args.test_token.then_some(Contract::TestToken));
    if args.chain.dry_run {
        return dry_deploy(&nodes, &wallet, &contracts).await;
    }
    let chain_id = nodes.chain_id().await?;
    let mut made = Vec::new();
    for contract in contracts {
        made.push(deploy::deploy(&nodes, &wallet, contract).await?);
    }
    if args.json {
        let out = json!({
            "chain_id": chain_id,
            "deployer": wallet.address().to_string(),
            "escrow": made[0],
            "anchor": made[1],
            "bond": made[2],
            "token": made.get(3),
        });
        println!("{}", serde_json::to_string_pretty(&out)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("chain  {chain_id}");
    println!("escrow {} code {}", made[0].address, made[0].code_hash);
    println!("anchor {} code {}", made[1].address, made[1].code_hash);
    println!("bond   {} code {}", made[2].address, made[2].code_hash);
    if let Some(token) = made.get(3) {
        println!("token  {} code {} (worthless: anybody can mint)", token.address, token.code_hash);
    }
    Ok(ExitCode::SUCCESS)
}

/// Which contracts are at these addresses: by their code, not by what somebody calls them.
async fn verify(args: &Deploy) -> Result<ExitCode> {
    let nodes = nodes(&args.chain.rpc)?;
    let mut found = Vec::new();
    for address in &args.verify {
        found.push(deploy::verify(&nodes, contracts::address(*address)).await?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for one in &found {
            let hash = one.code_hash.as_deref().unwrap_or("none");
            let name = one.contract.unwrap_or("UNKNOWN: no contract of this version");
            println!("{} code {hash} {name}", one.address);
        }
    }
    Ok(ExitCode::from(u8::from(found.iter().any(|one| one.contract.is_none()))))
}

async fn dry_deploy(nodes: &Nodes, wallet: &Wallet, contracts: &[Contract]) -> Result<ExitCode> {
    let price = nodes.fees().await?.now();
    let mut nonce = nodes.next_nonce(wallet.address()).await?;
    let mut cost = 0;
    for contract in contracts {
        let create = rpc::request(wallet.address(), None, contract.creation());
        let gas = nodes.estimate(create).await?;
        let (address, hash) = (wallet.address().create(nonce), contract.code_hash());
        println!("would deploy {} at {address} code {hash} gas {gas}", contract.name());
        cost += u128::from(gas) * price;
        nonce += 1;
    }
    println!("for about {cost} wei at {price} wei per gas; nothing was sent");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn open(open: &Open) -> Result<ExitCode> {
    let (nodes, payer) = connect(&open.chain)?;
    let domain = Domain { chain_id: nodes.chain_id().await?, escrow: open.escrow };
    let salt = match open.salt {
        Some(salt) => salt.0,
        None => random32()?,
    };
    let terms = ChannelTerms {
        payer: Address(payer.address().into_array()),
        signer: open.signer,
        receiver: open.receiver,
        token: open.token,
        withdraw_delay_s: open.withdraw_delay_s,
        salt,
    };
    let opened =
        deploy::open_channel(&nodes, &payer, &domain, &terms, open.deposit, open.mint).await?;
    if open.json {
        println!("{}", serde_json::to_string_pretty(&opened)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("[[channel]]");
    println!("id = \"{}\"", opened.channel);
    println!("payer = \"{}\"", opened.payer);
    println!("signer = \"{}\"", opened.signer);
    println!("receiver = \"{}\"", opened.receiver);
    println!("token = \"{}\"", opened.token);
    println!("withdraw_delay_s = {}", opened.withdraw_delay_s);
    println!("salt = \"{}\"", opened.salt);
    println!("price_per_gib = \"...\"  # token units, as agreed with the payer");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn connect(chain: &Chain) -> Result<(Nodes, Wallet)> {
    let wallet = wallet(&chain.key_file, &chain.password_file, chain.dry_run)?;
    Ok((nodes(&chain.rpc)?, wallet))
}

pub(super) fn wallet(
    key: &Option<Secret>,
    password: &Option<Secret>,
    dry_run: bool,
) -> Result<Wallet> {
    let key = key.clone().context("--key-file is missing: whose key signs this?")?;
    let wallet = Wallet::open(&KeyConfig { key, password: password.clone() })?;
    Ok(if dry_run { wallet.for_dry_run() } else { wallet })
}

pub(super) fn nodes(at: &[Endpoint]) -> Result<Nodes> {
    for one in at.iter().filter(|one| one.shows_credentials()) {
        eprintln!(
            "weir-settle: the URL of {one} seems to hold an API key, and every user of this host \
             can see it: put it into a file of mode 0600 and give --rpc the file's /path"
        );
    }
    Ok(Nodes::of(at)?)
}

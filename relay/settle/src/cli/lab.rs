//! `deploy` and `channel open`: no sidecar needed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use weir_settle::chain::deploy::{self, Contract};
use weir_settle::chain::rpc::Rpc;
use weir_settle::config::KeyConfig;
use weir_settle::keys::{Wallet, random32};
use weir_usage::{Address, ChannelTerms, Domain};

use super::{Chain, Open};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn deploy(chain: &Chain, test_token: bool, json: bool) -> Result<ExitCode> {
    let (rpc, wallet) = connect(chain)?;
    let chain_id = rpc.chain_id().await?;
    let escrow = deploy::deploy(&rpc, &wallet, Contract::ExitEscrow).await?;
    let anchor = deploy::deploy(&rpc, &wallet, Contract::UsageAnchor).await?;
    let bond = deploy::deploy(&rpc, &wallet, Contract::OperatorBond).await?;
    let token = match test_token {
        true => Some(deploy::deploy(&rpc, &wallet, Contract::TestToken).await?),
        false => None,
    };
    if json {
        let out = json!({
            "chain_id": chain_id,
            "deployer": wallet.address().to_string(),
            "escrow": escrow,
            "anchor": anchor,
            "bond": bond,
            "token": token,
        });
        println!("{}", serde_json::to_string_pretty(&out)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("chain  {chain_id}");
    println!("escrow {} code {}", escrow.address, escrow.code_hash);
    println!("anchor {} code {}", anchor.address, anchor.code_hash);
    println!("bond   {} code {}", bond.address, bond.code_hash);
    if let Some(token) = token {
        println!("token  {} code {} (worthless: anybody can mint)", token.address, token.code_hash);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn open(open: &Open) -> Result<ExitCode> {
    let (rpc, payer) = connect(&open.chain)?;
    let domain = Domain { chain_id: rpc.chain_id().await?, escrow: open.escrow };
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
        deploy::open_channel(&rpc, &payer, &domain, &terms, open.deposit, open.mint).await?;
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

pub(super) fn connect(chain: &Chain) -> Result<(Rpc, Wallet)> {
    let key = KeyConfig { key: chain.key_file.clone(), password: chain.password_file.clone() };
    Ok((endpoint(&chain.rpc)?, Wallet::open(&key)?))
}

pub(super) fn endpoint(url: &str) -> Result<Rpc> {
    Ok(Rpc::new(url, CONNECT_TIMEOUT, REQUEST_TIMEOUT)?)
}

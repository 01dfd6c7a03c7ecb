//! Many channels, and a process that is killed again and again: all of them to the unit.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolCall;
use serde_json::json;
use weir_settle::chain::contracts::{IERC20, IExitEscrow, address};
use weir_settle::chain::once;
use weir_settle::control::{self, Request};
use weir_usage::{Address, ChannelId, ChannelTerms, Digest, Frame};

use crate::chain::{LONG, Program};
use crate::common::anvil::{Anvil, CHAIN_ID, Contracts};
use crate::common::relay::Relay;
use crate::common::{EXIT, PRICE, Rng, eventually, pay, payer, usage};

const CHANNELS: usize = 1500;
const KILLS: u64 = 10;
const DEPOSIT: u128 = 10_000;
/// Gas of opening a channel, with room.
const OPEN_GAS: u64 = 300_000;

/// What is used on a channel, in bytes and units.
fn bytes(index: usize) -> u64 {
    100 + index as u64
}

/// Opens the channels as their payer would, but all in one block.
async fn open(anvil: &Anvil, contracts: &Contracts) -> Vec<ChannelTerms> {
    let wallet = anvil.payer_wallet();
    let (escrow, token) = (address(contracts.domain.escrow), address(contracts.token));
    let amount = U256::from(DEPOSIT * CHANNELS as u128);
    let mint = IERC20::mintCall { to: wallet.address(), amount }.abi_encode();
    let approve = IERC20::approveCall { spender: escrow, amount }.abi_encode();
    for (what, input) in [("minting", mint), ("approving", approve)] {
        let input = Bytes::from(input);
        once::send(&anvil.rpc, &wallet, what, Some(token), input, LONG).await.unwrap();
    }
    let latest = alloy::eips::BlockNumberOrTag::Latest;
    let nonce = anvil.rpc.nonce(wallet.address(), latest).await.unwrap();
    anvil.call("evm_setAutomine", json!([false])).await;
    let mut all = Vec::new();
    for index in 0..CHANNELS {
        let mut salt = [0x5a; 32];
        salt[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let terms = ChannelTerms {
            payer: Address(wallet.address().into_array()),
            signer: payer().address(),
            receiver: Address([0x99; 20]),
            token: contracts.token,
            withdraw_delay_s: 3600,
            salt,
        };
        let call = IExitEscrow::openChannelCall {
            signer: address(terms.signer),
            receiver: address(terms.receiver),
            token,
            withdrawDelay: terms.withdraw_delay_s,
            salt: salt.into(),
            amount: DEPOSIT,
        };
        let transaction = json!([{
            "from": wallet.address(), "to": escrow, "data": Bytes::from(call.abi_encode()),
            "gas": format!("0x{OPEN_GAS:x}"), "nonce": format!("0x{:x}", nonce + index as u64),
        }]);
        anvil.call("eth_sendTransaction", transaction).await;
        all.push(terms);
    }
    anvil.call("evm_mine", json!([])).await;
    anvil.call("evm_setAutomine", json!([true])).await;
    all
}

fn config(anvil: &Anvil, contracts: &Contracts, channels: &[ChannelTerms]) -> String {
    drop(anvil.exit_wallet());
    let mut text = format!(
        "exit_id = \"{EXIT}\"\n[files]\njournal = \"{}\"\nsocket = \"{}\"\ncontrol = \"{}\"\n\
         [policy]\nclaim_batch_max = 100\n\
         [chain]\nrpc = \"{}\"\nchain_id = {CHAIN_ID}\nescrow = \"{}\"\nanchor = \"{}\"\n\
         key_file = \"{}\"\npoll_ms = 1000\nconfirmations = 0\n",
        anvil.path("journal").display(),
        anvil.path("settle.sock").display(),
        anvil.path("control.sock").display(),
        anvil.url(),
        contracts.domain.escrow,
        contracts.anchor,
        anvil.path("exit.key").display(),
    );
    for terms in channels {
        write!(
            text,
            "[[channel]]\nid = \"{}\"\npayer = \"{}\"\nsigner = \"{}\"\nreceiver = \"{}\"\n\
             token = \"{}\"\nwithdraw_delay_s = {}\nsalt = \"{}\"\nprice_per_gib = \"{PRICE}\"\n",
            terms.id(&contracts.domain),
            terms.payer,
            terms.signer,
            terms.receiver,
            terms.token,
            terms.withdraw_delay_s,
            Digest(terms.salt),
        )
        .unwrap();
    }
    text
}

/// Reports every channel's tunnel and pays what is asked, until all is paid. `None` if the sidecar
/// hung up.
async fn use_and_pay_all(socket: &Path, channels: &[ChannelId]) -> Option<()> {
    let mut relay =
        eventually("the program listens", LONG, async || Relay::try_connect(socket, 1).await).await;
    for (index, channel) in channels.iter().enumerate() {
        let mut record = usage(*channel, 0, index as u128 + 1, bytes(index), 0);
        relay.chain.stamp(&mut record);
        relay.try_send(&Frame::Record(Box::new(record))).await?;
    }
    let due = |channel: &ChannelId| channels.iter().position(|c| c == channel).map(bytes);
    let (mut offered, mut paid) = (HashSet::new(), HashSet::new());
    while paid.len() < channels.len() {
        match relay.try_next().await? {
            Frame::Ask(ask) if due(&ask.channel) == Some(ask.up_bytes) => {
                if ask.last.is_some_and(|last| last.voucher.amount == ask.amount) {
                    paid.insert(ask.channel);
                } else if offered.insert(ask.channel) {
                    relay.try_send(&Frame::Voucher(pay(&ask))).await?;
                }
            }
            Frame::VoucherAck(ack) => {
                paid.insert(ack.channel);
            }
            Frame::VoucherRefused(no) => panic!("{no:?}"),
            _ => {}
        }
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_hundred_channels_are_settled_to_the_unit_over_ten_kills() {
    let Some(anvil) = Anvil::start(&["--gas-limit", "1000000000"]).await else { return };
    let contracts = anvil.deploy().await;
    let terms = open(&anvil, &contracts).await;
    let channels: Vec<ChannelId> = terms.iter().map(|t| t.id(&contracts.domain)).collect();
    let file = anvil.path("settle.toml");
    std::fs::write(&file, config(&anvil, &contracts, &terms)).unwrap();
    let (socket, control) = (anvil.path("settle.sock"), anvil.path("control.sock"));
    let run = || {
        let mut run = Command::new(env!("CARGO_BIN_EXE_weir-settle"));
        run.args(["run", "-c"]).arg(&file).env("WEIR_LOG", "warn").stderr(Stdio::null());
        Program(run.spawn().unwrap())
    };
    let work = async || {
        use_and_pay_all(&socket, &channels).await?;
        control::ask(&control, &Request::SettleNow).await.ok()
    };
    let mut rng = Rng(1500);
    for kill in 0..KILLS {
        let mut program = run();
        // Later kills find it further on.
        let moment = Duration::from_millis(200 + rng.below(1000 * (kill + 1)));
        // Whether it was done by then or not.
        let _ = tokio::time::timeout(moment, work()).await;
        program.0.kill().unwrap();
        program.0.wait().unwrap();
    }
    let program = run();
    let report = eventually("everything is settled", LONG * 4, work).await;
    assert_eq!(report["problems"], json!([]));
    let total: u128 = (0..CHANNELS).map(|index| u128::from(bytes(index))).sum();
    assert_eq!(report["total"], total.to_string());
    assert_eq!(anvil.balance(contracts.token, terms[0].receiver).await, total);
    for (index, channel) in channels.iter().enumerate() {
        let call = IExitEscrow::claimedCall { channelId: channel.0.into(), lane: 0 };
        let escrow = address(contracts.domain.escrow);
        let claimed = anvil.rpc.view(escrow, call).await.unwrap();
        assert_eq!(claimed, u128::from(bytes(index)), "channel {index}");
    }
    drop(program);
}

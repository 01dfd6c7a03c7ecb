//! The contracts' functions and events that the sidecar uses; the sources are in
//! `deploy/contracts`.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;

use weir_usage::Digest;

use crate::audit::Sibling;
use crate::journal::entry::{Action, ClaimRow};

pub use abi::{IERC20, IExitEscrow, IUsageAnchor};

use super::challenge::IChallenges;

#[expect(
    clippy::too_many_arguments,
    reason = "sol! makes a function of each event, with as many arguments as the event has fields"
)]
mod abi {
    use alloy::sol;

    sol! {
        #[derive(Debug)]
        interface IExitEscrow {
            struct Voucher {
                bytes32 channelId;
                uint32 lane;
                uint128 cumulativeAmount;
                uint64 seq;
                bytes32 usageHead;
            }
            struct SignedVoucher {
                Voucher voucher;
                bytes signature;
            }

            event Claimed(
                bytes32 indexed channelId,
                uint32 indexed lane,
                address indexed receiver,
                uint128 paid,
                uint128 claimed,
                uint128 cumulativeAmount,
                uint64 seq,
                bytes32 usageHead
            );
            event ClaimSkipped(
                bytes32 indexed channelId, uint32 indexed lane, uint64 seq, uint256 row, uint8 reason
            );
            event WithdrawInitiated(bytes32 indexed channelId, uint64 withdrawAt);
            event Withdrawn(bytes32 indexed channelId, uint128 amount);
            event Settled(address indexed receiver, address indexed token, uint256 amount);

            function openChannel(
                address signer,
                address receiver,
                address token,
                uint64 withdrawDelay,
                bytes32 salt,
                uint128 amount
            ) external returns (bytes32 channelId);
            function claim(SignedVoucher[] calldata rows) external returns (uint128[] memory paid);
            function settle(address receiver, address token) external returns (uint256 amount);
            function initiateWithdraw(bytes32 channelId) external;
            function finalizeWithdraw(bytes32 channelId) external;
            function channels(bytes32 channelId) external view returns (
                address payer,
                uint64 withdrawDelay,
                address signer,
                uint64 withdrawAt,
                address receiver,
                address token,
                uint128 balance
            );
            function claimed(bytes32 channelId, uint32 lane) external view returns (uint128);
            function earned(address receiver, address token) external view returns (uint256);
            function domainSeparator() external view returns (bytes32);
        }

        #[derive(Debug)]
        interface IUsageAnchor {
            function anchor(uint64 epoch, bytes32 root, uint128 total) external;
            function commitments(address exit, uint64 epoch) external view returns (bytes32);
        }

        #[derive(Debug)]
        interface IERC20 {
            function approve(address spender, uint256 amount) external returns (bool);
            function balanceOf(address owner) external view returns (uint256);
            function mint(address to, uint256 amount) external;
        }
    }
}

/// `weir-usage`'s address as alloy's.
pub fn address(address: weir_usage::Address) -> Address {
    Address::from(address.0)
}

/// The transaction input of an action.
pub fn input(action: &Action) -> Bytes {
    match action {
        Action::Claim { rows } => {
            IExitEscrow::claimCall { rows: rows.iter().map(signed_voucher).collect() }
                .abi_encode()
                .into()
        }
        Action::Settle { receiver, token } => {
            IExitEscrow::settleCall { receiver: address(*receiver), token: address(*token) }
                .abi_encode()
                .into()
        }
        Action::Anchor { epoch, root, total } | Action::AnchorDay { epoch, root, total, .. } => {
            IUsageAnchor::anchorCall { epoch: *epoch, root: B256::from(root.0), total: *total }
                .abi_encode()
                .into()
        }
        Action::Answer { challenge, hash, sum, leaves, siblings, .. } => {
            let node =
                |one: &Sibling| IChallenges::Node { hash: B256::from(one.hash.0), sum: one.sum };
            IChallenges::answerLeafCall {
                challengeId: U256::from(*challenge),
                hash: B256::from(hash.0),
                sum: *sum,
                leaves: *leaves,
                siblings: siblings.iter().map(node).collect(),
            }
            .abi_encode()
            .into()
        }
        Action::Fees { account } => {
            IChallenges::payFeesCall { account: address(*account) }.abi_encode().into()
        }
    }
}

/// What `UsageAnchor` keeps of an anchor: `keccak256(abi.encode(root, total))`.
pub fn commitment(root: &Digest, total: u128) -> B256 {
    keccak256([&root.0[..], &U256::from(total).to_be_bytes::<32>()].concat())
}

fn signed_voucher(row: &ClaimRow) -> IExitEscrow::SignedVoucher {
    IExitEscrow::SignedVoucher {
        voucher: IExitEscrow::Voucher {
            channelId: B256::from(row.channel.0),
            lane: row.lane,
            cumulativeAmount: row.amount,
            seq: row.seq,
            usageHead: B256::from(row.usage_head.0),
        },
        signature: Bytes::copy_from_slice(&row.signature.0),
    }
}

/// What is skipped for this reason can be claimed after another deposit.
const NO_BALANCE: &str = "no balance";

/// Whether a row that was skipped for this reason would be skipped again.
pub fn is_hopeless(skipped: &str) -> bool {
    !skipped.is_empty() && skipped != NO_BALANCE
}

/// The escrow's `Skip` in words.
pub fn skip_reason(code: u8) -> &'static str {
    match code {
        0 => "paid",
        1 => "unknown channel",
        2 => "signature length",
        3 => "high s",
        4 => "recovery byte",
        5 => "wrong signer",
        6 => "nothing owed",
        7 => NO_BALANCE,
        _ => "unknown reason",
    }
}

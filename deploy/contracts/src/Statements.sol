// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What an operator's key vouches for: record `seq` of `stream` has this content.
struct StreamStatement {
    /// Which sequence of records, for example one session of one exit.
    bytes32 stream;
    uint64 seq;
    /// Hash of the record.
    bytes32 content;
}

/// What an operator's key vouches for: this is the usage of the epoch.
struct EpochStatement {
    uint64 epoch;
    /// As in UsageAnchor.
    bytes32 root;
    uint128 total;
}

struct SignedStreamStatement {
    StreamStatement statement;
    /// r, s, v: 65 bytes, low s, v = 27 or 28.
    bytes signature;
}

struct SignedEpochStatement {
    EpochStatement statement;
    bytes signature;
}

/// @title EIP-712 hashes of statements.
library Statements {
    bytes32 internal constant STREAM_TYPEHASH =
        keccak256("StreamStatement(bytes32 stream,uint64 seq,bytes32 content)");
    bytes32 internal constant EPOCH_TYPEHASH =
        keccak256("EpochStatement(uint64 epoch,bytes32 root,uint128 total)");

    function hash(StreamStatement calldata s) internal pure returns (bytes32) {
        return keccak256(abi.encode(STREAM_TYPEHASH, s.stream, s.seq, s.content));
    }

    function hash(EpochStatement calldata s) internal pure returns (bytes32) {
        return keccak256(abi.encode(EPOCH_TYPEHASH, s.epoch, s.root, s.total));
    }

    /// What both of two contradicting statements are about.
    function subject(StreamStatement calldata s) internal pure returns (bytes32) {
        return keccak256(abi.encode(STREAM_TYPEHASH, s.stream, s.seq));
    }

    function subject(EpochStatement calldata s) internal pure returns (bytes32) {
        return keccak256(abi.encode(EPOCH_TYPEHASH, s.epoch));
    }
}

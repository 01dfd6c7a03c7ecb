// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title EIP-712 domains, and signatures that exist in one form only.
/// @dev Signers are keys. ERC-1271 is left out on purpose: a contract's answer can change after the
/// service was delivered, and asking it would be a call to a stranger in the middle of a batch.
library Signatures {
    /// What is wrong with a signature as such.
    enum Flaw {
        None,
        Length,
        HighS,
        RecoveryByte,
        /// No key makes this signature.
        Nobody
    }

    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    /// Half of the order of secp256k1. A higher s is the malleable twin of another signature.
    uint256 private constant MAX_S =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// The domain separator of this contract, version 1. It isn't kept: a fork of the chain with a
    /// new chain id must take no signature of the old one.
    function domain(bytes32 nameHash) internal view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, nameHash, keccak256("1"), block.chainid, address(this))
        );
    }

    /// What is signed (EIP-712).
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    /// Who signed `digest`. `signature` is r, s, v: 65 bytes, low s, v = 27 or 28. With a flaw the
    /// signer is the zero address.
    function recover(bytes32 hash, bytes calldata signature)
        internal
        pure
        returns (address signer, Flaw flaw)
    {
        if (signature.length != 65) return (address(0), Flaw.Length);
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > MAX_S) return (address(0), Flaw.HighS);
        uint8 v = uint8(signature[64]);
        if (v != 27 && v != 28) return (address(0), Flaw.RecoveryByte);
        signer = ecrecover(hash, v, bytes32(signature[0:32]), s);
        if (signer == address(0)) flaw = Flaw.Nobody;
    }
}

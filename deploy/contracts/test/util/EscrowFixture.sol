// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../lab/TestToken.sol";
import {ExitEscrow} from "../../src/ExitEscrow.sol";
import {Test} from "./Test.sol";

/// One escrow, one token, one payer with a signing key, one exit.
abstract contract EscrowFixture is Test {
    uint256 internal constant SIGNER_KEY = 0xA11CE;
    uint256 internal constant GROUP_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint64 internal constant DELAY = 1 days;
    address internal constant PAYER = address(0xBA1);
    address internal constant RECEIVER = address(0xE817);
    address internal constant ANYBODY = address(0xA4B);

    ExitEscrow internal escrow;
    TestToken internal token;
    address internal signer;

    function setUp() public virtual {
        escrow = new ExitEscrow();
        token = new TestToken();
        signer = vm.addr(SIGNER_KEY);
        vm.warp(1_000_000);
    }

    function fund(address who, uint128 amount) internal {
        token.mint(who, amount);
        vm.prank(who);
        token.approve(address(escrow), type(uint256).max);
    }

    function open(uint128 amount) internal returns (bytes32) {
        return open(bytes32(0), amount);
    }

    function open(bytes32 salt, uint128 amount) internal returns (bytes32) {
        fund(PAYER, amount);
        vm.prank(PAYER);
        return escrow.openChannel(signer, RECEIVER, address(token), DELAY, salt, amount);
    }

    function voucherOf(bytes32 id, uint32 lane, uint128 amount, uint64 seq)
        internal
        pure
        returns (ExitEscrow.Voucher memory)
    {
        return ExitEscrow.Voucher(id, lane, amount, seq, keccak256(abi.encode(amount, seq)));
    }

    function signed(ExitEscrow.Voucher memory voucher)
        internal
        view
        returns (ExitEscrow.SignedVoucher memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, escrow.voucherDigest(voucher));
        return ExitEscrow.SignedVoucher(voucher, abi.encodePacked(r, s, v));
    }

    function signed(bytes32 id, uint32 lane, uint128 amount, uint64 seq)
        internal
        view
        returns (ExitEscrow.SignedVoucher memory)
    {
        return signed(voucherOf(id, lane, amount, seq));
    }

    /// The malleable twin of a signature: (r, n - s, other v).
    function twin(ExitEscrow.SignedVoucher memory good)
        internal
        view
        returns (ExitEscrow.SignedVoucher memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, escrow.voucherDigest(good.voucher));
        bytes32 high = bytes32(GROUP_ORDER - uint256(s));
        return ExitEscrow.SignedVoucher(good.voucher, abi.encodePacked(r, high, 55 - v));
    }

    /// Claims one voucher and returns what it earned.
    function claim(ExitEscrow.SignedVoucher memory row) internal returns (uint128) {
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](1);
        rows[0] = row;
        vm.prank(ANYBODY);
        return escrow.claim(rows)[0];
    }

    /// Claims a voucher that must be skipped for this reason, without any effect.
    function claimSkipped(ExitEscrow.SignedVoucher memory row, ExitEscrow.Skip reason) internal {
        uint256 earned = escrow.earned(RECEIVER, address(token));
        ExitEscrow.Voucher memory voucher = row.voucher;
        vm.expectEmit(address(escrow));
        emit ExitEscrow.ClaimSkipped(voucher.channelId, voucher.lane, voucher.seq, 0, reason);
        vm.assertEq(claim(row), 0, "a skipped row earns nothing");
        vm.assertEq(escrow.earned(RECEIVER, address(token)), earned, "earned");
    }

    function balanceOf(bytes32 id) internal view returns (uint128 balance) {
        (,,,,,, balance) = escrow.channels(id);
    }
}

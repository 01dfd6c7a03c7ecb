// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../lab/TestToken.sol";
import {ExitEscrow} from "../../src/ExitEscrow.sol";
import {Test} from "./Test.sol";

/// Plays payers, exits and strangers at random, and keeps books of its own.
contract Handler is Test {
    uint32 public constant LANES = 2;
    uint256 private constant SIGNER_KEY = 0xA11CE;
    uint128 private constant MAX_AMOUNT = 1e30;

    ExitEscrow public immutable escrow;
    TestToken[2] public tokens;
    address[2] public receivers = [address(0xE817), address(0xE818)];
    address[3] private payers = [address(0xBA1), address(0xBA2), address(0xBA3)];
    bytes32[] public ids;

    mapping(bytes32 id => uint256) public deposited;
    /// Refunded and withdrawn.
    mapping(bytes32 id => uint256) public returned;
    mapping(bytes32 id => mapping(uint32 lane => uint256)) public signedUpTo;
    mapping(bytes32 id => mapping(uint32 lane => uint256)) public lastClaimed;
    mapping(address receiver => mapping(address token => uint256)) public settled;
    /// Tokens that somebody sent to the escrow by mistake.
    mapping(address token => uint256) public strayed;

    constructor(ExitEscrow escrow_) {
        escrow = escrow_;
        tokens = [new TestToken(), new TestToken()];
        for (uint256 i = 0; i < payers.length; ++i) {
            for (uint256 j = 0; j < tokens.length; ++j) {
                vm.prank(payers[i]);
                tokens[j].approve(address(escrow), type(uint256).max);
            }
        }
    }

    function channelCount() external view returns (uint256) {
        return ids.length;
    }

    // ---------------------------------------------------------------- what happens at random

    function openChannel(uint256 seed, uint256 amount) external {
        // Twelve channels at most: few enough that every one sees much happen.
        address payer = payers[seed % 3];
        address receiver = receivers[(seed >> 8) % 2];
        TestToken token = tokens[(seed >> 16) % 2];
        uint64 delay = payer == payers[0] ? 0 : 1 hours;
        address signer = vm.addr(SIGNER_KEY);
        bytes32 id = escrow.channelIdOf(payer, signer, receiver, address(token), delay, 0);
        if (payerOf(id) != address(0)) return;
        uint128 value = bound128(amount, 0, MAX_AMOUNT);
        token.mint(payer, value);
        vm.prank(payer);
        escrow.openChannel(signer, receiver, address(token), delay, 0, value);
        ids.push(id);
        deposited[id] += value;
    }

    function deposit(uint256 seed, uint256 amount) external {
        (bytes32 id, bool any) = pick(seed);
        if (!any) return;
        address from = payers[(seed >> 128) % 3];
        uint128 value = bound128(amount, 1, MAX_AMOUNT);
        TestToken(tokenOf(id)).mint(from, value);
        vm.prank(from);
        escrow.deposit(id, value);
        deposited[id] += value;
    }

    /// A batch of a fresh voucher, the same again, and one with a signature for another amount.
    function claim(uint256 seed, uint256 amount, uint64 seq) external {
        (bytes32 id, bool any) = pick(seed);
        if (!any) return;
        uint32 lane = uint32((seed >> 128) % LANES);
        uint128 value = bound128(amount, 0, 3 * MAX_AMOUNT);
        if (value > signedUpTo[id][lane]) signedUpTo[id][lane] = value;
        ExitEscrow.Voucher memory voucher = ExitEscrow.Voucher(id, lane, value, seq, "usage");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, escrow.voucherDigest(voucher));
        bytes memory signature = abi.encodePacked(r, s, v);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](3);
        rows[0] = ExitEscrow.SignedVoucher(voucher, signature);
        rows[1] = rows[0];
        ExitEscrow.Voucher memory forged =
            ExitEscrow.Voucher(id, lane, value + MAX_AMOUNT, seq, "usage");
        rows[2] = ExitEscrow.SignedVoucher(forged, signature);
        uint128[] memory paid = escrow.claim(rows);
        vm.assertEq(uint256(paid[1]) + paid[2], 0, "a repeated or forged voucher was paid");
    }

    function settle(uint256 seed) external {
        address receiver = receivers[seed % 2];
        address token = address(tokens[(seed >> 8) % 2]);
        if (escrow.earned(receiver, token) == 0) return;
        settled[receiver][token] += escrow.settle(receiver, token);
    }

    function refund(uint256 seed, uint256 amount) external {
        (bytes32 id, bool any) = pick(seed);
        if (!any || balanceOf(id) == 0) return;
        uint128 value = bound128(amount, 1, balanceOf(id));
        (,,,, address receiver,,) = escrow.channels(id);
        vm.prank(receiver);
        escrow.refund(id, value);
        returned[id] += value;
    }

    function initiateWithdraw(uint256 seed) external {
        (bytes32 id, bool any) = pick(seed);
        if (!any || withdrawAtOf(id) != 0) return;
        vm.prank(payerOf(id));
        escrow.initiateWithdraw(id);
    }

    function cancelWithdraw(uint256 seed) external {
        (bytes32 id, bool any) = pick(seed);
        if (!any || withdrawAtOf(id) == 0) return;
        vm.prank(payerOf(id));
        escrow.cancelWithdraw(id);
    }

    function finalizeWithdraw(uint256 seed) external {
        (bytes32 id, bool any) = pick(seed);
        if (any && withdrawAtOf(id) != 0 && withdrawAtOf(id) <= block.timestamp) finalize(id);
    }

    function wait_(uint256 seconds_) external {
        vm.warp(block.timestamp + seconds_ % 2 hours);
    }

    function stray(uint256 seed, uint256 amount) external {
        TestToken token = tokens[seed % 2];
        uint128 value = bound128(amount, 0, MAX_AMOUNT);
        token.mint(address(escrow), value);
        strayed[address(token)] += value;
    }

    // ---------------------------------------------------------------- used by the invariants

    /// Remembers what is claimed, so that a fall is seen.
    function rememberClaimed(bytes32 id, uint32 lane, uint256 amount) external {
        lastClaimed[id][lane] = amount;
    }

    /// A payer leaves: everything that wasn't claimed comes back, after the delay.
    function leaveChannel(bytes32 id) external {
        if (withdrawAtOf(id) == 0) {
            vm.prank(payerOf(id));
            escrow.initiateWithdraw(id);
        }
        if (block.timestamp < withdrawAtOf(id)) vm.warp(withdrawAtOf(id));
        finalize(id);
    }

    function finalize(bytes32 id) private {
        address payer = payerOf(id);
        TestToken token = TestToken(tokenOf(id));
        uint256 before = token.balanceOf(payer);
        uint256 balance = balanceOf(id);
        vm.prank(payer);
        escrow.finalizeWithdraw(id);
        vm.assertEq(token.balanceOf(payer) - before, balance, "the payer gets what is left");
        returned[id] += balance;
    }

    function pick(uint256 seed) private view returns (bytes32 id, bool any) {
        if (ids.length != 0) (id, any) = (ids[seed % ids.length], true);
    }

    function payerOf(bytes32 id) public view returns (address payer) {
        (payer,,,,,,) = escrow.channels(id);
    }

    function withdrawAtOf(bytes32 id) public view returns (uint64 withdrawAt) {
        (,,, withdrawAt,,,) = escrow.channels(id);
    }

    function tokenOf(bytes32 id) public view returns (address token) {
        (,,,,, token,) = escrow.channels(id);
    }

    function balanceOf(bytes32 id) public view returns (uint128 balance) {
        (,,,,,, balance) = escrow.channels(id);
    }
}

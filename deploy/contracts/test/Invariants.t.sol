// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../lab/TestToken.sol";
import {ExitEscrow} from "../src/ExitEscrow.sol";
import {Handler} from "./util/Handler.sol";
import {Test} from "./util/Test.sol";

/// What holds after any sequence of transactions.
contract InvariantsTest is Test {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    ExitEscrow private escrow;
    Handler private handler;

    function setUp() public {
        escrow = new ExitEscrow();
        handler = new Handler(escrow);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// The random transactions; `leaveChannel` and `rememberClaimed` belong to the invariants.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](10);
        selectors[0] = Handler.openChannel.selector;
        selectors[1] = Handler.deposit.selector;
        selectors[2] = Handler.claim.selector;
        selectors[3] = Handler.settle.selector;
        selectors[4] = Handler.refund.selector;
        selectors[5] = Handler.initiateWithdraw.selector;
        selectors[6] = Handler.cancelWithdraw.selector;
        selectors[7] = Handler.finalizeWithdraw.selector;
        selectors[8] = Handler.wait_.selector;
        selectors[9] = Handler.stray.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// One campaign for all of them: the transactions take the time, not the checks.
    function invariant_the_books_balance() public {
        the_escrow_holds_what_it_owes();
        a_channel_keeps_to_itself();
        claimed_only_rises_up_to_what_was_signed();
        receivers_get_what_was_claimed();
    }

    /// From any state, every payer can leave with what isn't claimed.
    function afterInvariant() public {
        for (uint256 i = 0; i < handler.channelCount(); ++i) {
            bytes32 id = handler.ids(i);
            handler.leaveChannel(id);
            vm.assertEq(handler.balanceOf(id), 0, "left over");
        }
        the_escrow_holds_what_it_owes();
        a_channel_keeps_to_itself();
    }

    /// Every unit in the escrow belongs to a channel, to a receiver, or was sent by mistake.
    function the_escrow_holds_what_it_owes() private view {
        for (uint256 i = 0; i < 2; ++i) {
            TestToken token = handler.tokens(i);
            uint256 owed = handler.strayed(address(token));
            for (uint256 j = 0; j < handler.channelCount(); ++j) {
                bytes32 id = handler.ids(j);
                if (handler.tokenOf(id) == address(token)) owed += handler.balanceOf(id);
            }
            for (uint256 j = 0; j < 2; ++j) {
                owed += escrow.earned(handler.receivers(j), address(token));
            }
            vm.assertEq(token.balanceOf(address(escrow)), owed, "tokens in the escrow");
        }
    }

    /// What came into a channel is still there, was claimed from it, or went back to its payer:
    /// nothing moves between channels.
    function a_channel_keeps_to_itself() private view {
        for (uint256 i = 0; i < handler.channelCount(); ++i) {
            bytes32 id = handler.ids(i);
            uint256 out = handler.balanceOf(id) + handler.returned(id);
            for (uint32 lane = 0; lane < handler.LANES(); ++lane) {
                out += escrow.claimed(id, lane);
            }
            vm.assertEq(handler.deposited(id), out, "in and out of the channel");
        }
    }

    /// Claimed amounts never fall, and never exceed what was signed.
    function claimed_only_rises_up_to_what_was_signed() private {
        for (uint256 i = 0; i < handler.channelCount(); ++i) {
            bytes32 id = handler.ids(i);
            for (uint32 lane = 0; lane < handler.LANES(); ++lane) {
                uint256 claimed = escrow.claimed(id, lane);
                vm.assertLe(handler.lastClaimed(id, lane), claimed, "claimed fell");
                vm.assertLe(claimed, handler.signedUpTo(id, lane), "more than was signed");
                handler.rememberClaimed(id, lane, claimed);
            }
        }
    }

    /// A receiver gets exactly what was claimed for it, and nobody else does.
    function receivers_get_what_was_claimed() private view {
        for (uint256 i = 0; i < 2; ++i) {
            address receiver = handler.receivers(i);
            for (uint256 j = 0; j < 2; ++j) {
                TestToken token = handler.tokens(j);
                uint256 claimed = claimedFor(receiver, address(token));
                uint256 settled = handler.settled(receiver, address(token));
                uint256 earned = escrow.earned(receiver, address(token));
                vm.assertEq(claimed, earned + settled, "claimed and earned");
                vm.assertEq(token.balanceOf(receiver), settled, "settled and received");
            }
        }
    }

    function claimedFor(address receiver, address token) private view returns (uint256 sum) {
        for (uint256 i = 0; i < handler.channelCount(); ++i) {
            bytes32 id = handler.ids(i);
            (,,,, address to, address paidIn,) = escrow.channels(id);
            if (to != receiver || paidIn != token) continue;
            for (uint32 lane = 0; lane < handler.LANES(); ++lane) {
                sum += escrow.claimed(id, lane);
            }
        }
    }
}

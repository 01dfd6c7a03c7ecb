// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../lab/TestToken.sol";
import {OperatorBond} from "../src/OperatorBond.sol";
import {Stakes} from "../src/Stakes.sol";
import {BondHandler} from "./util/BondHandler.sol";
import {Test} from "./util/Test.sol";

/// What holds of stakes and bonds after any sequence of transactions.
contract BondInvariantsTest is Test {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    OperatorBond private bond;
    BondHandler private handler;

    function setUp() public {
        bond = new OperatorBond();
        handler = new BondHandler(bond);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// The random transactions; `leaveAll` belongs to the invariants.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](12);
        selectors[0] = BondHandler.stake.selector;
        selectors[1] = BondHandler.addToStake.selector;
        selectors[2] = BondHandler.unbond.selector;
        selectors[3] = BondHandler.rebondOrRelease.selector;
        selectors[4] = BondHandler.slash.selector;
        selectors[5] = BondHandler.openSla.selector;
        selectors[6] = BondHandler.fundSla.selector;
        selectors[7] = BondHandler.applyCredit.selector;
        selectors[8] = BondHandler.closeSla.selector;
        selectors[9] = BondHandler.payOut.selector;
        selectors[10] = BondHandler.wait_.selector;
        selectors[11] = BondHandler.stray.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    function invariant_the_books_balance() public view {
        the_contract_holds_what_it_owes();
        a_stake_keeps_to_itself();
        an_agreement_keeps_to_itself();
    }

    /// From any state, everybody gets all that is his, and nothing is left over.
    function afterInvariant() public {
        handler.leaveAll();
        the_contract_holds_what_it_owes();
        a_stake_keeps_to_itself();
        an_agreement_keeps_to_itself();
        for (uint256 i = 0; i < 2; ++i) {
            TestToken token = handler.tokens(i);
            uint256 stray = handler.strayed(address(token));
            vm.assertEq(token.balanceOf(address(bond)), stray, "left over");
        }
    }

    /// Every unit belongs to a stake, to an agreement, to an account, or was sent by mistake.
    function the_contract_holds_what_it_owes() private view {
        for (uint256 i = 0; i < 2; ++i) {
            TestToken token = handler.tokens(i);
            uint256 owed = handler.strayed(address(token));
            for (uint256 j = 0; j < handler.stakeCount(); ++j) {
                bytes32 id = handler.stakeIds(j);
                if (handler.tokenOf(id) == address(token)) owed += inStake(id);
            }
            for (uint256 j = 0; j < handler.slaCount(); ++j) {
                bytes32 id = handler.slaIds(j);
                if (handler.tokenOf(id) == address(token)) owed += inSla(id);
            }
            for (uint256 j = 0; j < 5; ++j) {
                owed += bond.owed(handler.accounts()[j], address(token));
            }
            vm.assertEq(token.balanceOf(address(bond)), owed, "tokens in the contract");
        }
    }

    /// A stake shrinks by what its operator releases and by evidence against it, and by nothing
    /// else: no verdict and no other stake; and evidence takes at most half of what was put in.
    function a_stake_keeps_to_itself() private view {
        for (uint256 i = 0; i < handler.stakeCount(); ++i) {
            bytes32 id = handler.stakeIds(i);
            uint256 out = inStake(id) + handler.released(id) + handler.taken(id);
            vm.assertEq(handler.put(id), out, "in and out of the stake");
            Stakes.Stake memory staked = bond.stakes(id);
            vm.assertEq(staked.deposited, handler.put(id), "deposited");
            vm.assertEq(staked.slashed, handler.taken(id), "slashed");
            vm.assertLe(uint256(staked.slashed) * 2, staked.deposited, "half at most");
        }
    }

    /// What came into an agreement is there, was credited or returned; no period's credit exceeds
    /// the fee.
    function an_agreement_keeps_to_itself() private view {
        for (uint256 i = 0; i < handler.slaCount(); ++i) {
            bytes32 id = handler.slaIds(i);
            uint256 out = inSla(id) + handler.released(id) + handler.taken(id);
            vm.assertEq(handler.put(id), out, "in and out of the agreement");
            for (uint32 period = 0; period < handler.PERIODS(); ++period) {
                uint256 credited = handler.credited(id, period);
                vm.assertLe(credited, handler.FEE(), "the cap of a period");
                (,,, uint128 paid) = bond.judgements(id, period);
                vm.assertEq(paid, credited, "as judged");
            }
        }
    }

    function inStake(bytes32 id) private view returns (uint256) {
        Stakes.Stake memory staked = bond.stakes(id);
        return uint256(staked.active) + staked.unbonding;
    }

    function inSla(bytes32 id) private view returns (uint256 balance) {
        (balance,) = bond.slas(id);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../lab/TestToken.sol";

/// Keeps 1 % of every transfer.
contract FeeToken {
    mapping(address owner => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount - amount / 100;
        return true;
    }
}

/// Moves tokens and returns nothing, like USDT.
contract SilentToken {
    mapping(address owner => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// Moves tokens, and returns whatever it was told to: false, a number, half a word.
contract AnswerToken {
    mapping(address owner => uint256) public balanceOf;
    bytes private answer = abi.encode(true);

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function setAnswer(bytes calldata newAnswer) external {
        answer = newAnswer;
    }

    fallback(bytes calldata data) external returns (bytes memory) {
        bytes4 selector = bytes4(data[0:4]);
        (address from, address to, uint256 amount) = (msg.sender, address(0), 0);
        if (selector == TestToken.transfer.selector) {
            (to, amount) = abi.decode(data[4:], (address, uint256));
        } else {
            require(selector == TestToken.transferFrom.selector);
            (from, to, amount) = abi.decode(data[4:], (address, address, uint256));
        }
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return answer;
    }
}

/// Calls back whenever tokens move, like an ERC-777 token whose holder is hostile.
contract CallbackToken is TestToken {
    address private target;
    bytes private data;
    /// What the last call back returned or reverted with.
    bytes public result;
    bool public succeeded;

    function arm(address newTarget, bytes calldata newData) external {
        target = newTarget;
        data = newData;
    }

    function _move(address from, address to, uint256 amount) internal override returns (bool) {
        if (target != address(0)) {
            address called = target;
            target = address(0);
            (succeeded, result) = called.call(data);
        }
        return super._move(from, to, amount);
    }
}

/// Freezes accounts, like most tokens of money that is kept elsewhere.
contract FreezeToken is TestToken {
    mapping(address account => bool) public frozen;

    function freeze(address account, bool yes) external {
        frozen[account] = yes;
    }

    function _move(address from, address to, uint256 amount) internal override returns (bool) {
        require(!frozen[from] && !frozen[to], "frozen");
        return super._move(from, to, amount);
    }
}

/// Says true and moves nothing.
contract LyingToken is TestToken {
    function _move(address, address, uint256) internal pure override returns (bool) {
        return true;
    }
}

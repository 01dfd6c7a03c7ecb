// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Locked} from "./Locked.sol";
import {Signatures} from "./Signatures.sol";
import {TokenTransfer} from "./TokenTransfer.sol";

/// @title ExitEscrow: payers lock tokens for one exit and pay it with signed, cumulative vouchers.
/// @notice Immutable, without an owner, for any ERC-20 with fixed balances. A voucher says how much
/// is owed on one lane of a channel in total, so a lost, late or repeated one does no harm. The
/// payer can leave after the delay that the channel was opened with.
contract ExitEscrow is Locked {
    using TokenTransfer for address;

    struct Channel {
        address payer;
        /// Seconds between initiateWithdraw and finalizeWithdraw: the receiver's time to claim.
        uint64 withdrawDelay;
        /// Whose signature makes a voucher.
        address signer;
        /// Unix time from which finalizeWithdraw works; 0 while no withdrawal is pending.
        uint64 withdrawAt;
        address receiver;
        address token;
        /// Deposited, and neither claimed nor returned.
        uint128 balance;
        /// What was claimed on lane 0. Most channels have no other lane, and a claim on it writes
        /// one slot instead of two.
        uint128 claimed;
    }

    struct Voucher {
        bytes32 channelId;
        uint32 lane;
        uint128 cumulativeAmount;
        uint64 seq;
        bytes32 usageHead;
    }

    struct SignedVoucher {
        Voucher voucher;
        /// r, s, v: 65 bytes, low s, v = 27 or 28.
        bytes signature;
    }

    /// The channel that the rows of a batch are paid from. It is read when a row names another
    /// channel than the row before, and written back when the next one does.
    struct Till {
        bytes32 channelId;
        address signer;
        address receiver;
        uint128 balance;
        /// What was claimed on lane 0.
        uint128 claimed;
        /// Claimed in this batch and not yet booked to the receiver.
        uint128 paid;
    }

    /// Why a row of a batch was skipped. `None` is a row that was paid.
    enum Skip {
        None,
        UnknownChannel,
        SignatureLength,
        HighS,
        RecoveryByte,
        WrongSigner,
        NothingOwed,
        NoBalance
    }

    event Opened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed receiver,
        address signer,
        address token,
        uint64 withdrawDelay,
        bytes32 salt
    );
    event Deposited(
        bytes32 indexed channelId, address indexed from, uint128 amount, uint128 balance
    );
    /// `cumulativeAmount - claimed` stays claimable with the same voucher after another deposit.
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
        bytes32 indexed channelId, uint32 indexed lane, uint64 seq, uint256 row, Skip reason
    );
    event Settled(address indexed receiver, address indexed token, uint256 amount);
    event Refunded(bytes32 indexed channelId, uint128 amount, uint128 balance);
    event WithdrawInitiated(bytes32 indexed channelId, uint64 withdrawAt);
    event WithdrawCancelled(bytes32 indexed channelId);
    event Withdrawn(bytes32 indexed channelId, uint128 amount);

    error BadSigner();
    error BadReceiver();
    error BadToken();
    error DelayTooLong(uint64 withdrawDelay, uint64 max);
    error ChannelExists(bytes32 channelId);
    error UnknownChannel(bytes32 channelId);
    error ZeroAmount();
    error NotPayer();
    error NotReceiver();
    error BalanceTooLow(uint128 balance, uint128 amount);
    error WithdrawPending(uint64 withdrawAt);
    error NoWithdraw();
    error TooEarly(uint64 withdrawAt);
    error NothingToSettle();

    /// A longer delay is taken for a mistake that would lock the payer out.
    uint64 public constant MAX_WITHDRAW_DELAY = 365 days;

    bytes32 public constant VOUCHER_TYPEHASH = keccak256(
        "Voucher(bytes32 channelId,uint32 lane,uint128 cumulativeAmount,uint64 seq,bytes32 usageHead)"
    );

    mapping(bytes32 channelId => Channel) private _channels;
    /// What was claimed on all lanes but 0.
    mapping(bytes32 channelId => mapping(uint32 lane => uint128)) private _claimed;
    /// Claimed and not yet paid out.
    mapping(address receiver => mapping(address token => uint256)) public earned;

    // ---------------------------------------------------------------- payer

    /// Opens a channel from msg.sender and deposits `amount`, which may be 0.
    function openChannel(
        address signer,
        address receiver,
        address token,
        uint64 withdrawDelay,
        bytes32 salt,
        uint128 amount
    ) external locked returns (bytes32 channelId) {
        // ecrecover answers garbage with the zero address.
        if (signer == address(0)) revert BadSigner();
        if (receiver == address(0) || receiver == address(this)) revert BadReceiver();
        if (token.code.length == 0) revert BadToken();
        if (withdrawDelay > MAX_WITHDRAW_DELAY) {
            revert DelayTooLong(withdrawDelay, MAX_WITHDRAW_DELAY);
        }
        channelId = channelIdOf(msg.sender, signer, receiver, token, withdrawDelay, salt);
        Channel storage channel = _channels[channelId];
        if (channel.payer != address(0)) revert ChannelExists(channelId);
        channel.payer = msg.sender;
        channel.withdrawDelay = withdrawDelay;
        channel.signer = signer;
        channel.receiver = receiver;
        channel.token = token;
        emit Opened(channelId, msg.sender, receiver, signer, token, withdrawDelay, salt);
        if (amount != 0) _deposit(channelId, channel, amount);
    }

    /// Adds to a channel; anybody may. What vouchers still claim is paid from it first.
    function deposit(bytes32 channelId, uint128 amount) external locked {
        if (amount == 0) revert ZeroAmount();
        _deposit(channelId, _existing(channelId), amount);
    }

    /// Starts the delay after which the payer gets what is left.
    function initiateWithdraw(bytes32 channelId) external {
        Channel storage channel = _ofPayer(channelId);
        if (channel.withdrawAt != 0) revert WithdrawPending(channel.withdrawAt);
        uint64 withdrawAt = uint64(block.timestamp) + channel.withdrawDelay;
        channel.withdrawAt = withdrawAt;
        emit WithdrawInitiated(channelId, withdrawAt);
    }

    /// Calls a pending withdrawal off.
    function cancelWithdraw(bytes32 channelId) external {
        Channel storage channel = _ofPayer(channelId);
        if (channel.withdrawAt == 0) revert NoWithdraw();
        channel.withdrawAt = 0;
        emit WithdrawCancelled(channelId);
    }

    /// Returns what is left to the payer. The channel stays and can be funded again.
    function finalizeWithdraw(bytes32 channelId) external locked {
        Channel storage channel = _ofPayer(channelId);
        uint64 withdrawAt = channel.withdrawAt;
        if (withdrawAt == 0) revert NoWithdraw();
        // A validator can shift the clock by seconds; delays are hours.
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp < withdrawAt) revert TooEarly(withdrawAt);
        uint128 amount = channel.balance;
        channel.withdrawAt = 0;
        channel.balance = 0;
        emit Withdrawn(channelId, amount);
        if (amount != 0) channel.token.push(msg.sender, amount);
    }

    // ---------------------------------------------------------------- exit

    /// Records what vouchers earn; anybody may call. A row that earns nothing is skipped with an
    /// event and never holds up the others.
    /// @dev `seq` doesn't take part: the amount alone decides. If a higher seq could outdate a
    /// voucher, a payer could claim a worthless one with the highest seq and void all others.
    /// @return paid What each row earned; lets a caller try a batch without sending it.
    function claim(SignedVoucher[] calldata rows) external returns (uint128[] memory paid) {
        paid = new uint128[](rows.length);
        bytes32 separator = domainSeparator();
        Till memory till;
        for (uint256 row = 0; row < rows.length; ++row) {
            SignedVoucher calldata signed = rows[row];
            Voucher calldata voucher = signed.voucher;
            if (voucher.channelId != till.channelId) {
                _close(till);
                _open(till, voucher.channelId);
            }
            Skip reason = _check(till.signer, separator, signed);
            if (reason == Skip.None) (paid[row], reason) = _pay(till, voucher);
            if (reason != Skip.None) {
                emit ClaimSkipped(voucher.channelId, voucher.lane, voucher.seq, row, reason);
            }
        }
        _close(till);
    }

    /// Pays out everything that `receiver` earned in `token`; anybody may call.
    function settle(address receiver, address token) external locked returns (uint256 amount) {
        amount = earned[receiver][token];
        if (amount == 0) revert NothingToSettle();
        earned[receiver][token] = 0;
        emit Settled(receiver, token, amount);
        token.push(receiver, amount);
    }

    /// The receiver lets the payer have `amount` back at once.
    function refund(bytes32 channelId, uint128 amount) external locked {
        Channel storage channel = _existing(channelId);
        if (msg.sender != channel.receiver) revert NotReceiver();
        if (amount == 0) revert ZeroAmount();
        uint128 balance = channel.balance;
        if (amount > balance) revert BalanceTooLow(balance, amount);
        channel.balance = balance - amount;
        emit Refunded(channelId, amount, balance - amount);
        channel.token.push(channel.payer, amount);
    }

    // ---------------------------------------------------------------- what is stored

    /// The terms and the state of a channel; all zero if there is none.
    function channels(bytes32 channelId)
        external
        view
        returns (
            address payer,
            uint64 withdrawDelay,
            address signer,
            uint64 withdrawAt,
            address receiver,
            address token,
            uint128 balance
        )
    {
        Channel storage channel = _channels[channelId];
        return (
            channel.payer,
            channel.withdrawDelay,
            channel.signer,
            channel.withdrawAt,
            channel.receiver,
            channel.token,
            channel.balance
        );
    }

    /// What was claimed on a lane so far; it never falls, not even when the payer withdraws.
    function claimed(bytes32 channelId, uint32 lane) external view returns (uint128) {
        return lane == 0 ? _channels[channelId].claimed : _claimed[channelId][lane];
    }

    // ---------------------------------------------------------------- names and digests

    /// The name of a channel; the same terms on another chain or contract have another name.
    function channelIdOf(
        address payer,
        address signer,
        address receiver,
        address token,
        uint64 withdrawDelay,
        bytes32 salt
    ) public view returns (bytes32) {
        return keccak256(
            abi.encode(
                payer, signer, receiver, token, withdrawDelay, salt, block.chainid, address(this)
            )
        );
    }

    /// What the signer signs (EIP-712).
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32) {
        return _digest(domainSeparator(), voucher);
    }

    /// Who signed the voucher, or why the signature is none.
    function recoverVoucher(SignedVoucher calldata signed)
        external
        view
        returns (address signer, Skip reason)
    {
        return _recover(_digest(domainSeparator(), signed.voucher), signed.signature);
    }

    /// The EIP-712 domain separator.
    function domainSeparator() public view returns (bytes32) {
        return Signatures.domain(keccak256("Weir ExitEscrow"));
    }

    // ---------------------------------------------------------------- helpers

    function _deposit(bytes32 channelId, Channel storage channel, uint128 amount) private {
        uint128 balance = channel.balance + amount;
        channel.balance = balance;
        emit Deposited(channelId, msg.sender, amount, balance);
        channel.token.pull(msg.sender, amount);
    }

    /// Reads the channel of the next rows.
    function _open(Till memory till, bytes32 channelId) private view {
        Channel storage channel = _channels[channelId];
        till.channelId = channelId;
        till.signer = channel.signer;
        till.receiver = channel.receiver;
        till.balance = channel.balance;
        till.claimed = channel.claimed;
        till.paid = 0;
    }

    /// Writes back what the rows since `_open` changed.
    /// @dev Nobody is called in between, so nothing else can have changed it.
    function _close(Till memory till) private {
        if (till.paid == 0) return;
        Channel storage channel = _channels[till.channelId];
        channel.balance = till.balance;
        channel.claimed = till.claimed;
        earned[till.receiver][channel.token] += till.paid;
    }

    function _check(address expected, bytes32 separator, SignedVoucher calldata signed)
        private
        pure
        returns (Skip reason)
    {
        if (expected == address(0)) return Skip.UnknownChannel;
        address signer;
        (signer, reason) = _recover(_digest(separator, signed.voucher), signed.signature);
        if (reason == Skip.None && signer != expected) reason = Skip.WrongSigner;
    }

    function _pay(Till memory till, Voucher calldata voucher) private returns (uint128 paid, Skip) {
        mapping(uint32 lane => uint128) storage lanes = _claimed[till.channelId];
        uint32 lane = voucher.lane;
        uint128 total = lane == 0 ? till.claimed : lanes[lane];
        if (voucher.cumulativeAmount <= total) return (0, Skip.NothingOwed);
        if (till.balance == 0) return (0, Skip.NoBalance);
        paid = voucher.cumulativeAmount - total;
        if (paid > till.balance) paid = till.balance;
        total += paid;
        till.balance -= paid;
        till.paid += paid;
        if (lane == 0) till.claimed = total;
        else lanes[lane] = total;
        emit Claimed(
            till.channelId,
            lane,
            till.receiver,
            paid,
            total,
            voucher.cumulativeAmount,
            voucher.seq,
            voucher.usageHead
        );
        return (paid, Skip.None);
    }

    /// keccak256(0x1901 . separator . keccak256(abi.encode(VOUCHER_TYPEHASH, voucher))).
    /// @dev In assembly because `abi.encode` allocates 350 bytes anew for every row, which is 600
    /// gas of copying and memory. Invariants: (1) it writes 192 bytes at and after the free memory
    /// pointer, which belong to nobody, and doesn't move the pointer; (2) `Voucher` has five static
    /// members, so in calldata they are five words in the order of the type string; (3) bits
    /// outside of a member's type are hashed as they are, so they only make another digest, and
    /// reading that member reverts.
    function _digest(bytes32 separator, Voucher calldata voucher)
        private
        pure
        returns (bytes32 digest)
    {
        bytes32 typeHash = VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            let ptr := mload(0x40)
            mstore(ptr, typeHash)
            calldatacopy(add(ptr, 0x20), voucher, 0xa0)
            let structHash := keccak256(ptr, 0xc0)
            mstore(ptr, shl(240, 0x1901))
            mstore(add(ptr, 0x02), separator)
            mstore(add(ptr, 0x22), structHash)
            digest := keccak256(ptr, 0x42)
        }
    }

    function _recover(bytes32 digest, bytes calldata signature)
        private
        pure
        returns (address signer, Skip reason)
    {
        Signatures.Flaw flaw;
        (signer, flaw) = Signatures.recover(digest, signature);
        if (flaw == Signatures.Flaw.Length) reason = Skip.SignatureLength;
        else if (flaw == Signatures.Flaw.HighS) reason = Skip.HighS;
        else if (flaw == Signatures.Flaw.RecoveryByte) reason = Skip.RecoveryByte;
        else if (flaw == Signatures.Flaw.Nobody) reason = Skip.WrongSigner;
    }

    function _existing(bytes32 channelId) private view returns (Channel storage channel) {
        channel = _channels[channelId];
        if (channel.payer == address(0)) revert UnknownChannel(channelId);
    }

    function _ofPayer(bytes32 channelId) private view returns (Channel storage channel) {
        channel = _existing(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
    }
}

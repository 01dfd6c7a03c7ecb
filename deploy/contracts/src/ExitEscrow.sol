// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TokenTransfer} from "./TokenTransfer.sol";

/// @title ExitEscrow: payers lock tokens for one exit and pay it with signed, cumulative vouchers.
/// @notice Immutable, without an owner, for any ERC-20 with fixed balances. A voucher says how much
/// is owed on one lane of a channel in total, so a lost, late or repeated one does no harm. The
/// payer can leave after the delay that the channel was opened with.
contract ExitEscrow {
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
    error Reentered();

    /// A longer delay is taken for a mistake that would lock the payer out.
    uint64 public constant MAX_WITHDRAW_DELAY = 365 days;

    bytes32 public constant VOUCHER_TYPEHASH = keccak256(
        "Voucher(bytes32 channelId,uint32 lane,uint128 cumulativeAmount,uint64 seq,bytes32 usageHead)"
    );
    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    /// Half of the order of secp256k1. A higher s is the malleable twin of another signature.
    uint256 private constant MAX_S =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(bytes32 channelId => Channel) public channels;
    /// What was claimed on a lane so far; it never falls, not even when the payer withdraws.
    mapping(bytes32 channelId => mapping(uint32 lane => uint128)) public claimed;
    /// Claimed and not yet paid out.
    mapping(address receiver => mapping(address token => uint256)) public earned;

    bool private transient _locked;

    /// Every function that calls a token holds the lock, so that a token can't re-enter any of
    /// them. `claim` calls nobody and moves no token.
    modifier locked() {
        if (_locked) revert Reentered();
        _locked = true;
        _;
        _locked = false;
    }

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
        Channel storage channel = channels[channelId];
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
        for (uint256 row = 0; row < rows.length; ++row) {
            Skip reason;
            (paid[row], reason) = _claim(separator, rows[row]);
            if (reason != Skip.None) {
                Voucher calldata voucher = rows[row].voucher;
                emit ClaimSkipped(voucher.channelId, voucher.lane, voucher.seq, row, reason);
            }
        }
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

    /// The EIP-712 domain separator. Computed on the spot, so that a fork of the chain with a new
    /// chain id takes no voucher of the old one.
    function domainSeparator() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256("Weir ExitEscrow"),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    // ---------------------------------------------------------------- helpers

    function _deposit(bytes32 channelId, Channel storage channel, uint128 amount) private {
        uint128 balance = channel.balance + amount;
        channel.balance = balance;
        emit Deposited(channelId, msg.sender, amount, balance);
        channel.token.pull(msg.sender, amount);
    }

    function _claim(bytes32 separator, SignedVoucher calldata signed)
        private
        returns (uint128, Skip)
    {
        Voucher calldata voucher = signed.voucher;
        Channel storage channel = channels[voucher.channelId];
        address expected = channel.signer;
        if (expected == address(0)) return (0, Skip.UnknownChannel);
        (address signer, Skip reason) = _recover(_digest(separator, voucher), signed.signature);
        if (reason != Skip.None) return (0, reason);
        if (signer != expected) return (0, Skip.WrongSigner);
        return _pay(channel, voucher);
    }

    function _pay(Channel storage channel, Voucher calldata voucher)
        private
        returns (uint128 paid, Skip)
    {
        uint128 total = claimed[voucher.channelId][voucher.lane];
        if (voucher.cumulativeAmount <= total) return (0, Skip.NothingOwed);
        uint128 balance = channel.balance;
        if (balance == 0) return (0, Skip.NoBalance);
        paid = voucher.cumulativeAmount - total;
        if (paid > balance) paid = balance;
        total += paid;

        address receiver = channel.receiver;
        channel.balance = balance - paid;
        claimed[voucher.channelId][voucher.lane] = total;
        earned[receiver][channel.token] += paid;
        emit Claimed(
            voucher.channelId,
            voucher.lane,
            receiver,
            paid,
            total,
            voucher.cumulativeAmount,
            voucher.seq,
            voucher.usageHead
        );
        return (paid, Skip.None);
    }

    function _digest(bytes32 separator, Voucher calldata voucher) private pure returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                VOUCHER_TYPEHASH,
                voucher.channelId,
                voucher.lane,
                voucher.cumulativeAmount,
                voucher.seq,
                voucher.usageHead
            )
        );
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    function _recover(bytes32 digest, bytes calldata signature)
        private
        pure
        returns (address, Skip)
    {
        if (signature.length != 65) {
            return (address(0), Skip.SignatureLength);
        }
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > MAX_S) return (address(0), Skip.HighS);
        if (v != 27 && v != 28) return (address(0), Skip.RecoveryByte);
        address signer = ecrecover(digest, v, bytes32(signature[0:32]), s);
        if (signer == address(0)) return (address(0), Skip.WrongSigner);
        return (signer, Skip.None);
    }

    function _existing(bytes32 channelId) private view returns (Channel storage channel) {
        channel = channels[channelId];
        if (channel.payer == address(0)) revert UnknownChannel(channelId);
    }

    function _ofPayer(bytes32 channelId) private view returns (Channel storage channel) {
        channel = _existing(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
    }
}

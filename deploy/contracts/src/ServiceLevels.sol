// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payouts} from "./Payouts.sol";
import {Periods} from "./Periods.sol";
import {Signatures} from "./Signatures.sol";
import {CreditStep, SlaHash, SlaTerms, Verdict} from "./SlaTerms.sol";

/// @title Service levels with a bond: credits are computed from a verdict, and paid from the bond.
/// @notice The bond of one agreement is all that its verdicts can touch: neither the operator's
/// stake nor another agreement.
abstract contract ServiceLevels is Payouts {
    using SlaHash for *;

    enum State {
        None,
        Open,
        Closed
    }

    struct Sla {
        /// What is left for credits.
        uint128 balance;
        State state;
    }

    struct Judgement {
        uint32 good;
        uint32 bad;
        bool made;
        /// Of the credit that follows from it, what is paid so far.
        uint128 paid;
    }

    event SlaOpened(
        bytes32 indexed slaId, address indexed payer, address indexed operator, uint128 bond
    );
    event SlaFunded(bytes32 indexed slaId, address indexed from, uint128 amount, uint128 balance);
    event Judged(
        bytes32 indexed slaId,
        uint32 indexed period,
        uint32 good,
        uint32 bad,
        uint32 intervals,
        uint128 credit,
        bytes32 evidence
    );
    /// `credit - paid so far` stays payable with the same verdict after `fundSla`.
    event Credited(
        bytes32 indexed slaId, uint32 indexed period, address indexed payer, uint128 paid
    );
    event SlaClosed(bytes32 indexed slaId, address indexed payout, uint128 returned);

    /// `term` names what is wrong.
    error BadTerms(string term);
    error NotSigned(address by, Signatures.Flaw flaw);
    error SlaExists(bytes32 slaId);
    error NoSuchSla(bytes32 slaId);
    error OtherSla(bytes32 slaId);
    error NoSuchPeriod(uint32 period);
    error PeriodRuns(uint256 until);
    error MoreThanThePeriodHas(uint256 intervals);
    /// Signatures must be good, and in ascending order of their signers.
    error BadSignature(uint256 index, Signatures.Flaw flaw);
    error NotEnoughSignatures(uint256 sides, uint256 measurers);
    error JudgedOtherwise(uint32 period);
    error VerdictsAreTakenUntil(uint256 time);

    uint256 public constant MAX_CREDIT_STEPS = 16;
    uint256 public constant MAX_MEASURERS = 32;
    /// Ten years of months. It bounds how long a bond can be locked.
    uint32 public constant MAX_PERIODS = 120;
    uint256 public constant MAX_DURATION = 10 * 366 days;
    /// The payer's time to bring the last verdict.
    uint32 public constant MIN_CLAIM_SECONDS = 1 days;
    uint32 public constant MAX_CLAIM_SECONDS = 365 days;

    mapping(bytes32 slaId => Sla) public slas;
    mapping(bytes32 slaId => mapping(uint32 period => Judgement)) public judgements;

    // ---------------------------------------------------------------- both sides

    /// Opens an agreement that both sides have signed, and takes its bond from msg.sender.
    function openSla(
        SlaTerms calldata terms,
        bytes calldata payerSignature,
        bytes calldata operatorSignature
    ) external locked returns (bytes32 slaId) {
        _mustMakeSense(terms);
        slaId = slaIdOf(terms);
        _mustBeSigned(slaId, terms.payer, payerSignature);
        _mustBeSigned(slaId, terms.operator, operatorSignature);
        Sla storage sla = slas[slaId];
        if (sla.state != State.None) revert SlaExists(slaId);
        (sla.state, sla.balance) = (State.Open, terms.bond);
        emit SlaOpened(slaId, terms.payer, terms.operator, terms.bond);
        _take(terms.token, terms.bond);
    }

    /// Adds to the bond of an open agreement; anybody may.
    function fundSla(SlaTerms calldata terms, uint128 amount) external locked {
        (bytes32 slaId, Sla storage sla) = _open(terms);
        sla.balance += amount;
        emit SlaFunded(slaId, msg.sender, amount, sla.balance);
        _take(terms.token, amount);
    }

    /// Judges a period that has ended, and books the credit that follows to the payer. The verdict
    /// is signed by two of payer, operator and arbiter, or by the threshold of the measurers.
    /// Anybody may bring it. The first verdict of a period stands; bringing it again pays what the
    /// bond was short of, and needs no signatures.
    function applyCredit(
        SlaTerms calldata terms,
        Verdict calldata verdict,
        bytes[] calldata signatures
    ) external returns (uint128 paid) {
        (bytes32 slaId, Sla storage sla) = _open(terms);
        if (verdict.slaId != slaId) revert OtherSla(verdict.slaId);
        uint256 intervals = _intervals(terms, verdict.period);
        uint128 credit = creditOf(terms, intervals, verdict.bad);
        Judgement storage judgement = judgements[slaId][verdict.period];
        if (!judgement.made) {
            if (uint256(verdict.good) + verdict.bad > intervals) {
                revert MoreThanThePeriodHas(intervals);
            }
            _mustBeAgreed(terms, verdict, signatures);
            (judgement.good, judgement.bad, judgement.made) = (verdict.good, verdict.bad, true);
            emit Judged(
                slaId,
                verdict.period,
                verdict.good,
                verdict.bad,
                // At most 10 years of seconds.
                // forge-lint: disable-next-line(unsafe-typecast)
                uint32(intervals),
                credit,
                verdict.evidence
            );
        } else if (judgement.good != verdict.good || judgement.bad != verdict.bad) {
            revert JudgedOtherwise(verdict.period);
        }
        paid = credit - judgement.paid;
        if (paid > sla.balance) paid = sla.balance;
        if (paid == 0) return 0;
        sla.balance -= paid;
        judgement.paid += paid;
        emit Credited(slaId, verdict.period, terms.payer, paid);
        _owe(terms.payer, terms.token, paid);
    }

    /// Gives back what is left of the bond: to anybody's call when the time for verdicts is over,
    /// and earlier to the payer's.
    function closeSla(SlaTerms calldata terms) external returns (uint128 returned) {
        (bytes32 slaId, Sla storage sla) = _open(terms);
        uint256 until =
            Periods.begin(terms.start, terms.periodSeconds, terms.periods) + terms.claimSeconds;
        // A validator can shift the clock by seconds; the time for verdicts is days.
        // forge-lint: disable-next-line(block-timestamp)
        if (msg.sender != terms.payer && block.timestamp < until) {
            revert VerdictsAreTakenUntil(until);
        }
        returned = sla.balance;
        (sla.state, sla.balance) = (State.Closed, 0);
        emit SlaClosed(slaId, terms.payout, returned);
        _owe(terms.payout, terms.token, returned);
    }

    // ---------------------------------------------------------------- names and digests

    /// The name of an agreement, and what both sides sign (EIP-712).
    function slaIdOf(SlaTerms calldata terms) public view returns (bytes32) {
        return Signatures.digest(domainSeparator(), terms.hash());
    }

    /// What those who judge a period sign (EIP-712).
    function verdictDigest(Verdict calldata verdict) public view returns (bytes32) {
        return Signatures.digest(domainSeparator(), verdict.hash());
    }

    /// What the payer is owed for a period with so many bad intervals. An unknown interval counts
    /// as if the terms had been met.
    function creditOf(SlaTerms calldata terms, uint256 intervals, uint256 bad)
        public
        pure
        returns (uint128)
    {
        if (bad > intervals) revert MoreThanThePeriodHas(intervals);
        uint256 creditPpm = 0;
        for (uint256 i = 0; i < terms.credits.length; ++i) {
            CreditStep calldata step = terms.credits[i];
            // Availability isn't rounded: good / intervals < belowPpm / 1e6.
            if ((intervals - bad) * 1e6 >= uint256(step.belowPpm) * intervals) break;
            creditPpm = step.creditPpm;
        }
        // At most the fee, because no step credits more than all of it. Rounded down.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint128(uint256(terms.fee) * creditPpm / 1e6);
    }

    /// When a period begins and ends, Unix time.
    function periodOf(SlaTerms calldata terms, uint32 period)
        external
        pure
        returns (uint256 begins, uint256 ends)
    {
        begins = Periods.begin(terms.start, terms.periodSeconds, period);
        ends = Periods.begin(terms.start, terms.periodSeconds, uint256(period) + 1);
    }

    function domainSeparator() public view virtual returns (bytes32);

    // ---------------------------------------------------------------- helpers

    /// How many intervals a period has, once it is over.
    function _intervals(SlaTerms calldata terms, uint32 period) private view returns (uint256) {
        if (period >= terms.periods) revert NoSuchPeriod(period);
        uint256 begins = Periods.begin(terms.start, terms.periodSeconds, period);
        uint256 ends = Periods.begin(terms.start, terms.periodSeconds, uint256(period) + 1);
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp < ends) revert PeriodRuns(ends);
        return (ends - begins) / terms.intervalSeconds;
    }

    function _mustBeAgreed(
        SlaTerms calldata terms,
        Verdict calldata verdict,
        bytes[] calldata signatures
    ) private view {
        bytes32 digest = verdictDigest(verdict);
        (uint256 sides, uint256 measurers) = (0, 0);
        address last = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            (address signer, Signatures.Flaw flaw) = Signatures.recover(digest, signatures[i]);
            // Ascending, so that nobody counts twice. A flawed one has the zero address.
            if (signer <= last) revert BadSignature(i, flaw);
            last = signer;
            if (signer == terms.payer || signer == terms.operator || signer == terms.arbiter) {
                ++sides;
            }
            if (_isAmong(terms.measurers, signer)) ++measurers;
        }
        bool agreed = sides >= 2 || (terms.threshold != 0 && measurers >= terms.threshold);
        if (!agreed) revert NotEnoughSignatures(sides, measurers);
    }

    function _isAmong(address[] calldata all, address one) private pure returns (bool) {
        for (uint256 i = 0; i < all.length; ++i) {
            if (all[i] == one) return true;
        }
        return false;
    }

    function _mustBeSigned(bytes32 digest, address by, bytes calldata signature) private pure {
        (address signer, Signatures.Flaw flaw) = Signatures.recover(digest, signature);
        if (signer != by) revert NotSigned(by, flaw);
    }

    function _open(SlaTerms calldata terms) private view returns (bytes32 slaId, Sla storage sla) {
        slaId = slaIdOf(terms);
        sla = slas[slaId];
        if (sla.state != State.Open) revert NoSuchSla(slaId);
    }

    function _mustMakeSense(SlaTerms calldata t) private view {
        _require(t.payer != address(0) && t.operator != address(0), "payer, operator");
        _require(t.payer != t.operator, "payer is operator");
        // The arbiter of one side would make the two that a verdict needs out of one.
        _require(t.arbiter != t.payer && t.arbiter != t.operator, "arbiter");
        _require(t.payout != address(0) && t.payout != address(this), "payout");
        _require(t.token.code.length != 0, "token");
        _require(t.fee != 0 && t.bond != 0, "fee, bond");
        _require(t.availabilityPpm <= 1e6 && t.lossPpm <= 1e6, "availabilityPpm, lossPpm");
        _require(
            t.claimSeconds >= MIN_CLAIM_SECONDS && t.claimSeconds <= MAX_CLAIM_SECONDS,
            "claimSeconds"
        );
        _mustHavePeriods(t);
        _mustHaveCredits(t);
        _mustHaveMeasurers(t);
    }

    function _mustHavePeriods(SlaTerms calldata t) private view {
        _require(t.periods != 0 && t.periods <= MAX_PERIODS, "periods");
        // Near enough to today that the bond comes back in this life.
        // forge-lint: disable-next-line(block-timestamp)
        _require(t.start <= block.timestamp + MAX_DURATION, "start");
        _require(t.intervalSeconds != 0, "intervalSeconds");
        if (t.periodSeconds == 0) {
            _require(Periods.monthStart(Periods.monthOf(t.start)) == t.start, "start of a month");
            _require(1 days % t.intervalSeconds == 0, "intervalSeconds");
        } else {
            _require(t.periodSeconds % t.intervalSeconds == 0, "intervalSeconds");
            _require(uint256(t.periodSeconds) * t.periods <= MAX_DURATION, "periodSeconds");
        }
    }

    function _mustHaveCredits(SlaTerms calldata t) private pure {
        uint256 steps = t.credits.length;
        _require(steps != 0 && steps <= MAX_CREDIT_STEPS, "credits");
        (uint256 below, uint256 credit) = (uint256(t.availabilityPpm) + 1, 0);
        for (uint256 i = 0; i < steps; ++i) {
            CreditStep calldata step = t.credits[i];
            _require(step.belowPpm < below && step.creditPpm > credit, "credits");
            (below, credit) = (step.belowPpm, step.creditPpm);
        }
        _require(below != 0 && credit <= 1e6, "credits");
    }

    function _mustHaveMeasurers(SlaTerms calldata t) private pure {
        uint256 count = t.measurers.length;
        _require(count <= MAX_MEASURERS, "measurers");
        address last = address(0);
        for (uint256 i = 0; i < count; ++i) {
            address measurer = t.measurers[i];
            _require(measurer > last, "measurers");
            // Or a side, or the arbiter, could judge alone with a threshold of one.
            _require(measurer != t.payer && measurer != t.operator, "measurers");
            _require(measurer != t.arbiter, "measurers");
            last = measurer;
        }
        bool most = 2 * uint256(t.threshold) > count && t.threshold <= count;
        _require(count == 0 ? t.threshold == 0 : most, "threshold");
    }

    function _require(bool holds, string memory term) private pure {
        if (!holds) revert BadTerms(term);
    }
}

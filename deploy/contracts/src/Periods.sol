// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Billing periods: of a fixed length, or the months of the UTC calendar.
library Periods {
    uint256 private constant DAY = 1 days;
    /// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
    uint256 private constant EPOCH_DAYS = 719_468;

    /// Unix time at which `period` begins; the next period begins where it ends.
    function begin(uint64 start, uint32 periodSeconds, uint256 period)
        internal
        pure
        returns (uint256)
    {
        if (periodSeconds != 0) return start + period * periodSeconds;
        return monthStart(monthOf(start) + period);
    }

    /// The months since the year 0 at a Unix time.
    function monthOf(uint256 time) internal pure returns (uint256) {
        // Years are counted from March on, so that the leap day is the last day of a year; 400
        // years have 146,097 days.
        uint256 day = time / DAY + EPOCH_DAYS;
        uint256 era = day / 146_097;
        uint256 dayOfEra = day % 146_097;
        uint256 year = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365;
        uint256 dayOfYear = dayOfEra - (365 * year + year / 4 - year / 100);
        uint256 month = (5 * dayOfYear + 2) / 153;
        // Month 0 is March: two months later than the calendar's.
        return (era * 400 + year) * 12 + month + 2;
    }

    /// The Unix time of the first second of a month, the months counted as by `monthOf`.
    function monthStart(uint256 month) internal pure returns (uint256) {
        uint256 sinceMarch = month - 2;
        uint256 year = sinceMarch / 12;
        uint256 era = year / 400;
        uint256 yearOfEra = year % 400;
        uint256 dayOfYear = (153 * (sinceMarch % 12) + 2) / 5;
        uint256 day = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear;
        return (day - EPOCH_DAYS) * DAY;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Periods} from "../src/Periods.sol";
import {Test} from "./util/Test.sol";

contract PeriodsTest is Test {
    /// Unix times from `date -u -d ... +%s`.
    function test_months_of_the_calendar() public pure {
        vm.assertEq(Periods.monthStart(1970 * 12), 0, "1970-01");
        vm.assertEq(Periods.monthStart(1970 * 12 + 1), 2_678_400, "1970-02");
        vm.assertEq(Periods.monthStart(1972 * 12 + 2), 68_256_000, "1972-03, after a leap day");
        vm.assertEq(Periods.monthStart(2000 * 12 + 2), 951_868_800, "2000-03, a leap year");
        vm.assertEq(Periods.monthStart(2024 * 12 + 1), 1_706_745_600, "2024-02");
        vm.assertEq(Periods.monthStart(2024 * 12 + 2), 1_709_251_200, "2024-03");
        vm.assertEq(Periods.monthStart(2026 * 12 + 11), 1_796_083_200, "2026-12");
        vm.assertEq(Periods.monthStart(2100 * 12 + 2), 4_107_542_400, "2100-03, no leap year");
        vm.assertEq(Periods.monthOf(951_868_799), 2000 * 12 + 1, "2000-02-29 23:59:59");
        vm.assertEq(Periods.monthOf(1_709_251_199), 2024 * 12 + 1, "2024-02-29 23:59:59");
        vm.assertEq(Periods.monthOf(4_107_542_399), 2100 * 12 + 1, "2100-02-28 23:59:59");
    }

    /// Every month from 1970 to 2470, which is all that a cycle of the calendar has, by counting.
    function test_every_month_has_its_days() public pure {
        uint8[12] memory days_ = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        uint256 time = 0;
        for (uint256 month = 1970 * 12; month < 2470 * 12; ++month) {
            uint256 year = month / 12;
            bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            vm.assertEq(Periods.monthStart(month), time, "start");
            vm.assertEq(Periods.monthOf(time), month, "first second");
            time += (days_[month % 12] + (leap && month % 12 == 1 ? 1 : 0)) * 1 days;
            vm.assertEq(Periods.monthOf(time - 1), month, "last second");
        }
    }

    function testFuzz_periods_leave_no_gap(uint64 start, uint32 length, uint16 period) public pure {
        start = uint64(bound(start, 0, 1 << 40));
        uint256 begins = Periods.begin(start, length, period);
        uint256 ends = Periods.begin(start, length, uint256(period) + 1);
        vm.assertTrue(begins < ends, "not empty");
        if (length != 0) vm.assertEq(ends - begins, length, "length");
        else vm.assertEq(Periods.monthOf(ends - 1) + 1, Periods.monthOf(ends), "next month");
    }
}

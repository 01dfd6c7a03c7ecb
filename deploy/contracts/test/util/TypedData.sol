// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../../src/ExitEscrow.sol";
import {SlaTerms, Verdict} from "../../src/SlaTerms.sol";
import {EpochStatement, StreamStatement} from "../../src/Statements.sol";
import {Test} from "./Test.sol";

/// Writes messages as the JSON that wallets sign (eth_signTypedData_v4). The types are spelled out
/// here once more, so that a type string of a contract that says something else is found.
abstract contract TypedData is Test {
    string private constant DOMAIN =
        '"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}]';

    /// The digest of a message, by forge's own implementation of EIP-712.
    function typed(
        string memory name,
        address verifier,
        string memory primary,
        string memory types,
        string memory message
    ) internal pure returns (bytes32) {
        string memory head = string.concat(
            '{"types":{', DOMAIN, ",", types, '},"primaryType":"', primary
        );
        string memory domain = string.concat(
            '","domain":{"name":"',
            name,
            '","version":"1","chainId":31337,"verifyingContract":"',
            vm.toString(verifier)
        );
        return vm.eip712HashTypedData(string.concat(head, domain, '"},"message":{', message, "}}"));
    }

    function member(string memory name, string memory kind) private pure returns (string memory) {
        return string.concat('{"name":"', name, '","type":"', kind, '"}');
    }

    /// `"primary":[{name, type}, ...]` from names and types in turn.
    function types_(string memory primary, string[] memory pairs)
        private
        pure
        returns (string memory text)
    {
        text = string.concat('"', primary, '":[');
        for (uint256 i = 0; i < pairs.length; i += 2) {
            text = string.concat(text, i == 0 ? "" : ",", member(pairs[i], pairs[i + 1]));
        }
        text = string.concat(text, "]");
    }

    function field(string memory name, uint256 value) private pure returns (string memory) {
        return string.concat('"', name, '":"', vm.toString(value), '"');
    }

    function field(string memory name, bytes32 value) private pure returns (string memory) {
        return string.concat('"', name, '":"', vm.toString(value), '"');
    }

    function field(string memory name, address value) private pure returns (string memory) {
        return string.concat('"', name, '":"', vm.toString(value), '"');
    }

    function join(string memory a, string memory b) private pure returns (string memory) {
        return string.concat(a, ",", b);
    }

    function digestOf(address verifier, ExitEscrow.Voucher memory v)
        internal
        pure
        returns (bytes32)
    {
        string[] memory p = new string[](10);
        (p[0], p[1]) = ("channelId", "bytes32");
        (p[2], p[3]) = ("lane", "uint32");
        (p[4], p[5]) = ("cumulativeAmount", "uint128");
        (p[6], p[7]) = ("seq", "uint64");
        (p[8], p[9]) = ("usageHead", "bytes32");
        string memory m = join(field("channelId", v.channelId), field("lane", v.lane));
        m = join(m, field("cumulativeAmount", v.cumulativeAmount));
        m = join(m, join(field("seq", v.seq), field("usageHead", v.usageHead)));
        return typed("Weir ExitEscrow", verifier, "Voucher", types_("Voucher", p), m);
    }

    function digestOf(address verifier, StreamStatement memory s) internal pure returns (bytes32) {
        string[] memory p = new string[](6);
        (p[0], p[1]) = ("stream", "bytes32");
        (p[2], p[3]) = ("seq", "uint64");
        (p[4], p[5]) = ("content", "bytes32");
        string memory m = join(field("stream", s.stream), field("seq", s.seq));
        m = join(m, field("content", s.content));
        return
            typed("Weir OperatorBond", verifier, "StreamStatement", types_("StreamStatement", p), m);
    }

    function digestOf(address verifier, EpochStatement memory s) internal pure returns (bytes32) {
        string[] memory p = new string[](6);
        (p[0], p[1]) = ("epoch", "uint64");
        (p[2], p[3]) = ("root", "bytes32");
        (p[4], p[5]) = ("total", "uint128");
        string memory m = join(field("epoch", s.epoch), field("root", s.root));
        m = join(m, field("total", s.total));
        return
            typed("Weir OperatorBond", verifier, "EpochStatement", types_("EpochStatement", p), m);
    }

    function digestOf(address verifier, Verdict memory v) internal pure returns (bytes32) {
        string[] memory p = new string[](10);
        (p[0], p[1]) = ("slaId", "bytes32");
        (p[2], p[3]) = ("period", "uint32");
        (p[4], p[5]) = ("good", "uint32");
        (p[6], p[7]) = ("bad", "uint32");
        (p[8], p[9]) = ("evidence", "bytes32");
        string memory m = join(field("slaId", v.slaId), field("period", v.period));
        m = join(m, join(field("good", v.good), field("bad", v.bad)));
        m = join(m, field("evidence", v.evidence));
        return typed("Weir OperatorBond", verifier, "Verdict", types_("Verdict", p), m);
    }

    function digestOf(address verifier, SlaTerms memory t) internal pure returns (bytes32) {
        string[] memory p = new string[](48);
        (p[0], p[1]) = ("payer", "address");
        (p[2], p[3]) = ("operator", "address");
        (p[4], p[5]) = ("payout", "address");
        (p[6], p[7]) = ("token", "address");
        (p[8], p[9]) = ("channelId", "bytes32");
        (p[10], p[11]) = ("committedKbps", "uint64");
        (p[12], p[13]) = ("burstKbps", "uint64");
        (p[14], p[15]) = ("availabilityPpm", "uint32");
        (p[16], p[17]) = ("rttP95Us", "uint32");
        (p[18], p[19]) = ("lossPpm", "uint32");
        (p[20], p[21]) = ("references", "bytes32");
        (p[22], p[23]) = ("maintenance", "bytes32");
        (p[24], p[25]) = ("start", "uint64");
        (p[26], p[27]) = ("periodSeconds", "uint32");
        (p[28], p[29]) = ("periods", "uint32");
        (p[30], p[31]) = ("intervalSeconds", "uint32");
        (p[32], p[33]) = ("claimSeconds", "uint32");
        (p[34], p[35]) = ("fee", "uint128");
        (p[36], p[37]) = ("bond", "uint128");
        (p[38], p[39]) = ("credits", "CreditStep[]");
        (p[40], p[41]) = ("measurers", "address[]");
        (p[42], p[43]) = ("threshold", "uint32");
        (p[44], p[45]) = ("arbiter", "address");
        (p[46], p[47]) = ("salt", "bytes32");
        string[] memory step = new string[](4);
        (step[0], step[1]) = ("belowPpm", "uint32");
        (step[2], step[3]) = ("creditPpm", "uint32");
        string memory types = join(types_("SlaTerms", p), types_("CreditStep", step));
        string memory m = join(join(who(t), what(t)), join(when(t), money(t)));
        return typed("Weir OperatorBond", verifier, "SlaTerms", types, m);
    }

    function who(SlaTerms memory t) private pure returns (string memory m) {
        m = join(field("payer", t.payer), field("operator", t.operator));
        m = join(m, join(field("payout", t.payout), field("token", t.token)));
        m = join(m, join(field("channelId", t.channelId), field("arbiter", t.arbiter)));
        return join(m, join(field("threshold", t.threshold), field("salt", t.salt)));
    }

    function what(SlaTerms memory t) private pure returns (string memory m) {
        m = join(field("committedKbps", t.committedKbps), field("burstKbps", t.burstKbps));
        m = join(m, field("availabilityPpm", t.availabilityPpm));
        m = join(m, join(field("rttP95Us", t.rttP95Us), field("lossPpm", t.lossPpm)));
        return join(m, join(field("references", t.references), field("maintenance", t.maintenance)));
    }

    function when(SlaTerms memory t) private pure returns (string memory m) {
        m = join(field("start", t.start), field("periodSeconds", t.periodSeconds));
        m = join(m, join(field("periods", t.periods), field("claimSeconds", t.claimSeconds)));
        return join(m, field("intervalSeconds", t.intervalSeconds));
    }

    function money(SlaTerms memory t) private pure returns (string memory m) {
        m = join(field("fee", t.fee), field("bond", t.bond));
        string memory steps = "";
        for (uint256 i = 0; i < t.credits.length; ++i) {
            string memory below = field("belowPpm", t.credits[i].belowPpm);
            string memory step = join(below, field("creditPpm", t.credits[i].creditPpm));
            steps = string.concat(steps, i == 0 ? "{" : ",{", step, "}");
        }
        string memory keys = "";
        for (uint256 i = 0; i < t.measurers.length; ++i) {
            keys = string.concat(keys, i == 0 ? '"' : ',"', vm.toString(t.measurers[i]), '"');
        }
        return string.concat(m, ',"credits":[', steps, '],"measurers":[', keys, "]");
    }
}

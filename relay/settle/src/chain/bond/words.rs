//! Why the contract refused, in words.

use alloy::sol_types::SolInterface;

use super::abi::IOperatorBond::IOperatorBondErrors as Refused;

/// Replaces what a node says about a revert by what the contract meant, if its answer holds that.
/// Nodes agree on `0x` and the error's bytes somewhere in the text, and on nothing else.
pub(super) fn explain(reason: &str) -> String {
    let hexadecimal = reason
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix("0x"))
        // A selector at least; an address has 40 digits and is none of our errors.
        .filter(|digits| digits.len() >= 8);
    for digits in hexadecimal {
        let Ok(bytes) = alloy::primitives::hex::decode(digits) else { continue };
        if let Ok(error) = Refused::abi_decode(&bytes) {
            return in_words(&error);
        }
    }
    reason.to_owned()
}

fn in_words(error: &Refused) -> String {
    match error {
        Refused::BadTerms(e) => format!("the contract refuses the terms: {}", e.term),
        Refused::NotSigned(e) => format!("the terms aren't signed by {}", e.by),
        Refused::SlaExists(e) => format!("agreement {} is open or was", e.slaId),
        Refused::NoSuchSla(e) => format!("agreement {} isn't open", e.slaId),
        Refused::NoSuchPeriod(e) => format!("the agreement has no period {}", e.period),
        Refused::PeriodRuns(e) => format!("the period runs until Unix time {}", e.until),
        Refused::NotEnoughSignatures(e) => {
            format!("signed by {} sides and {} measurers only", e.sides, e.measurers)
        }
        Refused::JudgedOtherwise(e) => {
            format!("period {} is judged already, with other numbers", e.period)
        }
        Refused::VerdictsAreTakenUntil(e) => {
            format!(
                "verdicts are taken until Unix time {}; before that only the payer closes",
                e.time
            )
        }
        Refused::StakeExists(e) => format!("stake {} exists", e.stakeId),
        Refused::UnknownStake(e) => format!("there is no stake {}", e.stakeId),
        Refused::NotOperator(_) => "the key isn't the operator's of this stake".into(),
        Refused::BadToken(_) => "the token is no contract, or doesn't move fixed amounts".into(),
        Refused::StakeTooLow(e) => format!("{} units are bonded, not {}", e.active, e.amount),
        Refused::NothingUnbonding(_) => "nothing is unbonding".into(),
        Refused::TooEarly(e) => format!("it can be released from Unix time {} on", e.from),
        Refused::SubjectsDiffer(_) => "the statements are about different things".into(),
        Refused::SameStatement(_) => "the statements say the same".into(),
        Refused::NotTheSigner(e) => {
            format!("statement {} isn't signed by the stake's usage key", e.statement)
        }
        Refused::AlreadySlashed(_) => "the stake was slashed for these statements".into(),
        Refused::NotCommitted(e) => {
            format!("no commitment {} of this key in an earlier block", e.commitment)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverts_are_explained_and_other_words_kept() {
        // TooEarly(uint64) with 0x65.
        let selector = &alloy::primitives::keccak256("TooEarly(uint64)")[..4];
        let data = format!("{}{:064x}", alloy::primitives::hex::encode(selector), 0x65);
        let said = format!("execution reverted: custom error, data: \"0x{data}\"");
        assert_eq!(explain(&said), "it can be released from Unix time 101 on");
        for other in ["insufficient funds", "0x12345678", "0xzz", "data: 0x"] {
            assert_eq!(explain(other), other);
        }
    }
}

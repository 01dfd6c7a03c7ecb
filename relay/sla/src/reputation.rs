//! A score for those who choose an exit. It never costs the exit a token, so it needs no proof:
//! its inputs are published beside it, and anybody can compute it again.

use serde::{Deserialize, Serialize};

/// The weight of a day halves in 30 days: 2^(-1/30).
const DECAY_PER_DAY: f64 = 0.977_159_968_434_245_9;
/// One good and one bad interval that nobody saw: a newcomer is at one half.
const PRIOR: f64 = 1.0;

/// What a day brought. The weight of its intervals is what was paid on it, against the mean of all
/// days: an exit can't be talked up by intervals that nobody paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    pub day: u64,
    /// Token units that vouchers were accepted for on it.
    #[serde(with = "amount")]
    pub paid: u128,
    /// Good intervals.
    pub good: u32,
    /// Bad intervals.
    pub bad: u32,
}

/// The mean of a Beta distribution over intervals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reputation {
    /// Parts per million: 1,000,000 is perfect, 500,000 is unknown.
    pub score_ppm: u32,
    /// Days since 1970 at which it is computed; each day before it weighs less.
    pub as_of_day: u64,
    /// In ascending order.
    pub inputs: Vec<Day>,
}

impl Reputation {
    /// The score from these inputs; days after `as_of_day` are left out.
    pub fn of(mut inputs: Vec<Day>, as_of_day: u64) -> Self {
        inputs.retain(|day| day.day <= as_of_day && (day.good, day.bad) != (0, 0));
        inputs.sort_by_key(|day| day.day);
        let total: f64 = inputs.iter().map(|day| day.paid as f64).sum();
        let mean = total / (inputs.len().max(1)) as f64;
        let (mut good, mut bad) = (PRIOR, PRIOR);
        // Multiplied day by day, not by a power: then it is the same number on every machine.
        let (mut decay, mut at) = (1.0, as_of_day);
        for day in inputs.iter().rev() {
            while at > day.day && decay > f64::MIN_POSITIVE {
                decay *= DECAY_PER_DAY;
                at -= 1;
            }
            let weight = if mean > 0.0 { decay * day.paid as f64 / mean } else { 0.0 };
            good += weight * f64::from(day.good);
            bad += weight * f64::from(day.bad);
        }
        // Between 0 and a million.
        let score_ppm = (good / (good + bad) * 1e6) as u32;
        Self { score_ppm, as_of_day, inputs }
    }
}

/// 128 bits fit no JSON number.
pub(crate) mod amount {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(amount: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

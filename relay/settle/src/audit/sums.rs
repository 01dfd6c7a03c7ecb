//! The total of an epoch as a sum of hidden amounts: a public list of commitments with the opening
//! of their sum, and for each payer the opening of his own. See [`weir_usage::pedersen`] for what
//! this proves and what it doesn't.

use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_sla::calendar::{DAY_S, date};
use weir_usage::bond::StreamStatement;
use weir_usage::merkle::Anchor;
use weir_usage::pedersen::{self, Blinder, Commitment, Opening};
use weir_usage::{ChannelId, Digest, ExitId, Keccak};

use crate::agreement::{read_json, write_new};
use crate::error::Error;
use crate::journal::Header;
use crate::journal::entry::AnchorLeaves;

/// [`pedersen::COMMITMENTS_MAX`] commitments, and some.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// The public file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hidden {
    /// The accounting period.
    pub epoch: u64,
    /// What was anchored for it, together with the sum's amount.
    pub root: Digest,
    /// Opens the sum of all commitments; its amount is the anchored total.
    pub sum: Opening,
    /// One per lane, in the order of the anchored leaves.
    pub commitments: Vec<Commitment>,
}

/// The file for one payer, about one lane. It shows his amount to whoever has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// The accounting period.
    pub epoch: u64,
    /// Place of the commitment in the list.
    pub index: u64,
    /// The channel.
    pub channel: ChannelId,
    /// The lane.
    pub lane: u32,
    /// Opens the commitment; its amount is what the lane's last voucher of the epoch says.
    pub opening: Opening,
}

impl Hidden {
    /// Commits to the amounts of an epoch. The blinders follow from the journal's secret, so that
    /// the files can be made again.
    ///
    /// # Errors
    /// [`Error::Audit`] for a day of samples, or for more lanes than a list holds.
    pub fn make(header: &Header, anchor: &AnchorLeaves) -> Result<(Self, Vec<Own>), Error> {
        if let Some(day) = anchor.day {
            return Err(Error::Audit(format!(
                "{} is no accounting period but the samples of {} under agreement {}: its sums are \
                 bytes by hour, not what lanes have signed for. `weir-settle export` lists the \
                 periods as rows `anchor`",
                anchor.epoch,
                date(day.day.saturating_mul(DAY_S)),
                day.sla
            )));
        }
        if anchor.leaves.len() > pedersen::COMMITMENTS_MAX {
            let (lanes, max) = (anchor.leaves.len(), pedersen::COMMITMENTS_MAX);
            return Err(Error::Audit(format!("{lanes} lanes are more than {max}")));
        }
        let own = |(index, leaf): (u64, &crate::journal::entry::AnchorLeaf)| {
            // The root fixes all amounts, so that no blinder hides two.
            let context = [&anchor.root.0[..], &index.to_be_bytes()].concat();
            let blinder = Blinder::derive(&header.secret, &context);
            let opening = Opening { amount: leaf.sum, blinder };
            Own { epoch: anchor.epoch, index, channel: leaf.channel, lane: leaf.lane, opening }
        };
        let owns: Vec<Own> = (0..).zip(&anchor.leaves).map(own).collect();
        let openings: Vec<Opening> = owns.iter().map(|own| own.opening).collect();
        let commitments = openings.iter().map(Opening::commit).collect();
        let sum = Opening::sum(&openings)?;
        Ok((Self { epoch: anchor.epoch, root: anchor.root, sum, commitments }, owns))
    }

    /// Checks that the commitments add up to `total`.
    ///
    /// # Errors
    /// [`Error::Audit`] for another total, [`Error::Usage`] for a sum that isn't theirs.
    pub fn verify(&self, total: u128) -> Result<(), Error> {
        if self.sum.amount != total {
            let claimed = self.sum.amount;
            return Err(Error::Audit(format!("the list claims {claimed} units, not {total}")));
        }
        Ok(self.sum.verify_sum(&self.commitments)?)
    }

    /// Checks that a payer's own amount is in the list, where it should be.
    ///
    /// # Errors
    /// [`Error::Audit`] for another epoch or place, [`Error::Usage`] for another amount.
    pub fn verify_own(&self, own: &Own) -> Result<(), Error> {
        if own.epoch != self.epoch {
            return Err(Error::Audit("the opening is of another epoch".into()));
        }
        let at = usize::try_from(own.index).ok().and_then(|i| self.commitments.get(i));
        let Some(commitment) = at else {
            return Err(Error::Audit(format!("the list has no commitment {}", own.index)));
        };
        Ok(own.opening.verify(commitment)?)
    }

    /// What the list claims to have been anchored.
    pub fn anchor(&self) -> Anchor {
        Anchor { epoch: self.epoch, root: self.root, total: self.sum.amount }
    }

    /// What the operator's usage key signs, so that two lists for one epoch contradict each other.
    pub fn statement(&self, exit: &ExitId) -> StreamStatement {
        let stream = Keccak::default().update(b"Weir hidden sums").update(&exit.0).finish();
        let content = pedersen::digest(&self.commitments);
        StreamStatement { stream, seq: self.epoch, content }
    }

    /// Reads a file; what is no point of the curve is refused.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_json(path, FILE_LEN_MAX)
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_new(path, self)
    }
}

impl Own {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_json(path, FILE_LEN_MAX)
    }

    /// Writes a new file that nobody else can read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_new(path, self)
    }
}

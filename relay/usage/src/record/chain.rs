use crate::{Digest, Error, ExitId, Keccak, UsageRecord};

/// The end of a stream of usage records. The relay stamps records with it, the sidecar checks them
/// against its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordChain {
    exit: ExitId,
    epoch: u64,
    next_seq: u64,
    head: Digest,
}

impl RecordChain {
    /// An empty stream.
    pub fn new(exit: ExitId, epoch: u64) -> RecordChain {
        let head = Keccak::default()
            .update(b"weir usage stream")
            .update(&exit.0)
            .update(&epoch.to_be_bytes())
            .finish();
        RecordChain { exit, epoch, next_seq: 0, head }
    }

    /// A stream whose last record had the sequence number before `next_seq` and the hash `head`.
    pub fn resume(exit: ExitId, epoch: u64, next_seq: u64, head: Digest) -> RecordChain {
        RecordChain { exit, epoch, next_seq, head }
    }

    /// The sequence number of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The hash of the last record, or the genesis of an empty stream.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Fills in the record's place in the stream and appends it.
    pub fn stamp(&mut self, record: &mut UsageRecord) {
        record.exit = self.exit;
        record.epoch = self.epoch;
        record.seq = self.next_seq;
        record.prev_hash = self.head;
        self.push(record);
    }

    /// Appends a record that continues the stream.
    ///
    /// # Errors
    /// [`Error::Duplicate`] is harmless; [`Error::Gap`] means that records are missing;
    /// [`Error::BrokenChain`] and [`Error::ForeignStream`] that this isn't the stream.
    /// The chain is then unchanged.
    pub fn accept(&mut self, record: &UsageRecord) -> Result<(), Error> {
        if (record.exit, record.epoch) != (self.exit, self.epoch) {
            return Err(Error::ForeignStream);
        }
        let (seq, expected) = (record.seq, self.next_seq);
        match seq.cmp(&expected) {
            std::cmp::Ordering::Less => return Err(Error::Duplicate { seq, expected }),
            std::cmp::Ordering::Greater => return Err(Error::Gap { seq, expected }),
            std::cmp::Ordering::Equal => {}
        }
        if record.prev_hash != self.head {
            let (expected, found) = (self.head, record.prev_hash);
            return Err(Error::BrokenChain { seq, expected, found });
        }
        self.push(record);
        Ok(())
    }

    fn push(&mut self, record: &UsageRecord) {
        self.head = record.hash();
        // 2^64 records at a million per second last half a million years.
        self.next_seq += 1;
    }
}

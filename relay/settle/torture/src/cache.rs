//! A page cache over a disk: what isn't synced survives a power cut in part, or not at all.

use std::io;

use crate::rng::Rng;

/// The unit in which a disk writes; small, so that small journals are torn in many ways.
const SECTOR: usize = 64;

/// The bytes of one file, as readers see them and as the disk has them.
#[derive(Debug, Default)]
pub struct PageCache {
    cache: Vec<u8>,
    durable: Vec<u8>,
}

impl PageCache {
    /// The bytes as a reader sees them.
    pub fn bytes(&self) -> &[u8] {
        &self.cache
    }

    /// Replaces the content, durably.
    pub fn set(&mut self, bytes: Vec<u8>) {
        self.cache.clone_from(&bytes);
        self.durable = bytes;
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// If there are fewer bytes.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
        let from = self.cache.get(offset..offset + buffer.len());
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Writes, to the cache.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
    }

    /// Cuts, in the cache.
    pub fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    /// What was written is safe now.
    pub fn sync(&mut self) {
        self.durable.clone_from(&self.cache);
    }

    /// The machine loses power and comes up again. Of what was written and not synced, any sectors
    /// may be there.
    pub fn power_cut(&mut self, rng: &mut Rng) {
        let (cache, durable) = (&self.cache, &self.durable);
        // The length is metadata: the old one, the new one, or one in between.
        let (short, long) = (cache.len().min(durable.len()), cache.len().max(durable.len()));
        let len = short + rng.below((long - short) as u64 + 1) as usize;
        let mut image = vec![0; len];
        for start in (0..len).step_by(SECTOR) {
            let end = (start + SECTOR).min(len);
            let source = if rng.below(2) == 0 { cache } else { durable };
            if let Some(have) = source.get(start..end.min(source.len())) {
                image[start..start + have.len()].copy_from_slice(have);
            }
        }
        // What both agree on is not in doubt.
        for (i, byte) in image.iter_mut().enumerate() {
            if cache.get(i).is_some() && cache.get(i) == durable.get(i) {
                *byte = cache[i];
            }
        }
        self.set(image);
    }
}

//! A disk with a page cache: what isn't synced survives a crash in part, or not at all.

use std::io;
use std::sync::{Arc, Mutex};

use weir_settle::storage::Storage;

use super::Rng;

const SECTOR: usize = 64;

/// What a step does once the disk's plan says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine dies in the middle of this step: the step and all after it fail.
    Crash,
    /// This step fails; a write leaves a part of itself behind. The next ones work.
    Fail,
}

#[derive(Debug)]
struct State {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// Steps until the fault.
    countdown: Option<u64>,
    fault: Fault,
    steps: u64,
    crashed: bool,
    rng: Rng,
}

/// Shared, so that a test can look at it after the journal is gone.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            cache: Vec::new(),
            durable: Vec::new(),
            countdown: None,
            fault: Fault::Crash,
            steps: 0,
            crashed: false,
            rng: Rng(seed),
        })))
    }

    /// The fault strikes at the step after `steps` more.
    pub(crate) fn plan(&self, steps: u64, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        state.countdown = Some(steps);
        state.fault = fault;
    }

    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap().steps
    }

    pub(crate) fn crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }

    /// The machine comes up again. Of what was written and not synced, any sectors may be there.
    pub(crate) fn reboot(&self) {
        let mut state = self.0.lock().unwrap();
        let State { cache, durable, rng, .. } = &mut *state;
        // The length is metadata: the old one, the new one, or one in between.
        let (short, long) = (cache.len().min(durable.len()), cache.len().max(durable.len()));
        let len = short + rng.below((long - short) as u64 + 1) as usize;
        let mut image = vec![0; len];
        for start in (0..len).step_by(SECTOR) {
            let end = (start + SECTOR).min(len);
            let source = if rng.below(2) == 0 { &*cache } else { &*durable };
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
        state.cache = image.clone();
        state.durable = image;
        state.countdown = None;
        state.crashed = false;
    }

    /// The bytes as a reader sees them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().cache.clone()
    }

    /// Replaces the content, durably.
    pub(crate) fn set(&self, bytes: Vec<u8>) {
        let mut state = self.0.lock().unwrap();
        state.cache.clone_from(&bytes);
        state.durable = bytes;
    }
}

impl State {
    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        if self.crashed {
            return Err(Fault::Crash);
        }
        match &mut self.countdown {
            Some(0) => {
                self.countdown = None;
                self.crashed = self.fault == Fault::Crash;
                Err(self.fault)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cache.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = offset as usize;
        let from = state.cache.get(start..start + buffer.len());
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let was_crashed = state.crashed;
        if state.step().is_ok() {
            state.write(offset as usize, bytes);
            return Ok(());
        }
        if !was_crashed {
            let part = state.rng.below(bytes.len() as u64 + 1) as usize;
            state.write(offset as usize, &bytes[..part]);
        }
        Err(full())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.step().is_err() {
            return Err(full());
        }
        state.cache.truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.step().is_err() {
            return Err(full());
        }
        state.durable = state.cache.clone();
        Ok(())
    }
}

//! The kept state's disk: its steps are places to crash at, as the journal's are.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, StorageBackend};
use weir_settle::state::Place;
use weir_settle::state::store::builder;

use crate::cache::PageCache;
use crate::points::{Fault, Points, Reached};
use crate::rng::Rng;

/// The state file of one run.
#[derive(Debug, Clone)]
pub(crate) struct StateDisk {
    file: Arc<Mutex<State>>,
    points: Points,
    /// The process that has it open.
    life: u64,
}

#[derive(Debug, Default)]
struct State {
    cache: PageCache,
    /// Something was written since the last sync.
    writing: bool,
    /// Processes that died so far. What is left of them in this one touches nothing any more.
    life: u64,
}

impl StateDisk {
    /// No file yet.
    pub(crate) fn new(points: Points) -> Self {
        Self { file: Arc::default(), points, life: 0 }
    }

    /// What a crash of this kind leaves.
    pub(crate) fn crash(&self, fault: Fault) {
        let mut file = self.lock();
        file.writing = false;
        file.life += 1;
        if fault == Fault::Power {
            // Dice of its own: how long the file is must not change what comes after.
            let mut rng = Rng(self.points.below(u64::MAX));
            file.cache.power_cut(&mut rng);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.file.lock().expect("no holder of this lock panics")
    }

    fn reach(&self, name: &str) -> Reached {
        self.points.reach(&[name.to_owned()], true)
    }

    /// The first write of a transaction is a step. In which order its pages are written is redb's
    /// affair and not the same in two runs, so that no later one is.
    fn begin(&self, file: &mut State) -> Reached {
        if self.points.down().is_some() || self.life != file.life {
            return Reached::Dead;
        }
        if file.writing {
            return Reached::Go;
        }
        file.writing = true;
        self.reach("write state")
    }
}

impl Place for StateDisk {
    fn is_there(&self) -> bool {
        !self.lock().cache.bytes().is_empty()
    }

    fn open(&self) -> Result<Database, redb::Error> {
        let life = self.lock().life;
        Ok(builder().create_with_backend(Self { life, ..self.clone() })?)
    }

    fn discard(&self) -> io::Result<()> {
        match self.reach("discard state") {
            Reached::Go => {
                let mut file = self.lock();
                file.cache.set(Vec::new());
                file.writing = false;
                Ok(())
            }
            _ => Err(full()),
        }
    }
}

impl StorageBackend for StateDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().cache.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lock().cache.read(offset as usize, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut file = self.lock();
        if self.begin(&mut file) != Reached::Go {
            return Err(full());
        }
        let now = file.cache.bytes().len() as u64;
        if len > now {
            file.cache.write(now as usize, &vec![0; (len - now) as usize]);
        } else {
            file.cache.truncate(len as usize);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut file = self.lock();
        if self.life != file.life || self.reach("sync state") != Reached::Go {
            return Err(full());
        }
        file.cache.sync();
        file.writing = false;
        match self.reach("synced state") {
            Reached::Go => Ok(()),
            _ => Err(full()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = self.lock();
        let count = match self.begin(&mut file) {
            Reached::Go => data.len(),
            Reached::Dead => return Err(full()),
            Reached::Dies | Reached::Full => self.points.below(data.len() as u64) as usize,
        };
        file.cache.write(offset as usize, &data[..count]);
        if count < data.len() { Err(full()) } else { Ok(()) }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

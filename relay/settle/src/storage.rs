//! Where the journal's bytes go: a real file, or in the tests a disk that fails at a chosen step.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::lock::Lock;

/// A random-access byte store of which only synced bytes survive a crash.
///
/// Between two `sync` calls a crash may keep any subset of what was written, in any order: that is
/// what a page cache promises, and the journal is built for no more than that.
pub trait Storage: Send {
    /// Bytes that can be read now.
    fn len(&self) -> io::Result<u64>;
    /// True for a store that was just created.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `offset`; an error if there are fewer bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Forgets every byte from `len` on.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Returns once everything that was written survives a crash.
    fn sync(&mut self) -> io::Result<()>;
}

/// A journal file, locked against a second sidecar for as long as this value lives.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    // Held, never read.
    _lock: Lock,
}

impl FileStorage {
    /// Opens or creates `path`, and takes the lock in `path` + `.lock`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has the journal, [`Error::Io`] otherwise.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let lock_path = lock_path(path);
        let lock = private()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::io("open the lock file", &lock_path))?;
        let lock = Lock::take(lock).map_err(|e| match e {
            TryLockError::WouldBlock => Error::Locked { path: path.to_owned() },
            TryLockError::Error(e) => Error::io("lock", &lock_path)(e),
        })?;
        let file = private()
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io("open the journal", path))?;
        // The file's own fsync doesn't persist its name; the directory's does.
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(Error::io("sync the directory", directory))?;
        Ok(Self { file, _lock: lock })
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A journal that is only looked at (`explain` beside a running sidecar): no lock, no writes.
#[derive(Debug)]
pub struct ReadOnly(File);

impl ReadOnly {
    /// Opens an existing file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        File::open(path).map(Self).map_err(Error::io("open the journal", path))
    }
}

impl Storage for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// A copy of a journal in memory, for what must not touch the file (a dry run).
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Vec<u8>);

impl Snapshot {
    /// Of a file as it is now; a file that isn't there yet is an empty journal.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::io("read the journal", path)(e)),
        }
    }
}

impl Storage for Snapshot {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if self.0.len() < start + bytes.len() {
            self.0.resize(start + bytes.len(), 0);
        }
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Usage and vouchers are between the operator and its payers: nobody else reads them.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

//! The few things that the record of spent tokens, and a payer's journal, do with a directory.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// A directory of small files. Its steps are so small that a fault can be put between any two.
pub trait Disk {
    /// The names of all files.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// A whole file; `None` if there is none, an error if it has more than `max` bytes.
    fn read(&mut self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>>;
    /// Makes an empty file, in the place of an old one.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes at the end of a file that was created or renamed here.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the content of a file survives a power failure.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Renames a file, in the place of another.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Returns when all creations, renamings and removals survive a power failure.
    fn sync_dir(&mut self) -> io::Result<()>;
}

/// A directory of the file system, locked for this process.
#[derive(Debug)]
pub struct DirDisk {
    path: PathBuf,
    files: HashMap<String, File>,
    _lock: File,
}

impl DirDisk {
    /// Makes the directory if there is none (0700), and locks it.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open_with(path, LOCK).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another relay uses this directory of spent tokens",
            ),
            _ => error,
        })
    }

    /// Takes a directory that others may use for other things, with a lock of this name.
    ///
    /// # Errors
    /// `WouldBlock` when another process has the lock.
    pub fn open_with(path: &Path, lock: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path.join(lock))?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(DirDisk { path: path.to_owned(), files: HashMap::new(), _lock: file })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for DirDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn read(&mut self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(max as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() > max {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(Some(bytes)),
        }
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        self.files.insert(name.to_owned(), file.open(self.path.join(name))?);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files.remove(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

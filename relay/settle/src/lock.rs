//! A lock on a file, against a second process that would do the same work.

use std::fs::{File, TryLockError};

/// Held for as long as the value lives; the kernel drops it with the process, also after kill -9,
/// so that a stale lock never needs a human.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of an open file.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if somebody else has it.
    pub(crate) fn take(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Closing the file isn't enough: a child that was forked and hasn't come to its exec yet has
    /// the same one.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_value_and_not_with_the_last_copy_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let open = || File::create(&path).unwrap();
        let lock = Lock::take(open()).unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::take(open()), Err(TryLockError::WouldBlock)));
        drop(lock);
        Lock::take(open()).unwrap();
        drop(inherited);
    }
}

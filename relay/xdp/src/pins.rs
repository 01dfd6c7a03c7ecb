//! The pin directory of an instance: `/sys/fs/bpf/weir/<instance>`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use weir_abi::map;

use crate::error::{Result, XdpError};
use crate::kernel::Programs;
use crate::sys::file_system;

const BPF_FS: &str = "/sys/fs/bpf";
const INSTANCE_LEN_MAX: usize = 64;

/// The directory, locked for as long as this value or its process lives.
#[derive(Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
    _lock: Lock,
}

impl PinDir {
    /// Makes the directory of a new run. Mounts bpffs if it is missing.
    pub(crate) fn create(instance: &str) -> Result<Self> {
        let path = path_of(instance)?;
        ensure_bpf_fs()?;
        fs::create_dir_all(&path).map_err(XdpError::file("can't make the pin directory", &path))?;
        let dir = Self::lock(instance, path)?;
        if dir.is_complete() {
            return Err(XdpError::Leftover(dir.path));
        }
        dir.remove_files()?;
        Ok(dir)
    }

    /// Takes over the directory of a run that has ended. `None` if there is nothing in it.
    pub(crate) fn take_over(instance: &str) -> Result<Option<Self>> {
        let path = path_of(instance)?;
        if !path.is_dir() {
            return Ok(None);
        }
        let dir = Self::lock(instance, path)?;
        if dir.is_complete() {
            return Ok(Some(dir));
        }
        dir.remove()?;
        Ok(None)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Pins all maps. The flow table comes last: a directory without it is one that was never
    /// attached (or is half removed), and holds nothing to recover.
    pub(crate) fn pin(&self, programs: &Programs) -> Result<()> {
        let others = map::ALL.into_iter().filter(|name| *name != map::FLOWS);
        for name in others.chain([map::FLOWS]) {
            programs.pin(name, &self.path.join(name))?;
        }
        Ok(())
    }

    /// Unpins everything and removes the directory.
    pub(crate) fn remove(self) -> Result<()> {
        self.remove_files()?;
        fs::remove_dir(&self.path)
            .map_err(XdpError::file("can't remove the pin directory", &self.path))?;
        // Other instances may be in it.
        if let Some(parent) = self.path.parent() {
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    fn lock(instance: &str, path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(XdpError::file("can't open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: Lock(file) }),
            Err(TryLockError::WouldBlock) => Err(XdpError::InstanceBusy(instance.to_owned())),
            Err(TryLockError::Error(error)) => Err(XdpError::file("can't lock", &path)(error)),
        }
    }

    fn is_complete(&self) -> bool {
        self.path.join(map::FLOWS).exists()
    }

    fn remove_files(&self) -> Result<()> {
        let others = map::ALL.into_iter().filter(|name| *name != map::FLOWS);
        for name in [map::FLOWS].into_iter().chain(others) {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(XdpError::file("can't unpin", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A lock that ends with the process, whatever it dies of, or with this value.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing the file isn't enough: a child that was forked and hasn't come to its exec yet has
    /// the same one.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Makes sure that `/sys/fs/bpf` is one.
pub(crate) fn ensure_bpf_fs() -> Result<()> {
    let path = Path::new(BPF_FS);
    let unusable = |source| XdpError::NoBpfFs { path: path.into(), source };
    if file_system::is_bpf_fs(path).map_err(unusable)? {
        return Ok(());
    }
    file_system::mount_bpf_fs(path).map_err(unusable)
}

fn path_of(instance: &str) -> Result<PathBuf> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if instance.is_empty() || instance.len() > INSTANCE_LEN_MAX || !instance.bytes().all(good) {
        return Err(XdpError::BadInstance(instance.to_owned()));
    }
    Ok(Path::new(BPF_FS).join("weir").join(instance))
}

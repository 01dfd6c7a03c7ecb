//! Listening on a Unix socket path that a dead process may have left behind.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::Error;

/// Listens on `path` with permission bits `mode`. A socket file that nobody listens on any more is
/// replaced.
///
/// The socket is made under another name and renamed, so that it is never there with permissions
/// wider than `mode`.
///
/// # Errors
/// [`Error::SocketInUse`], [`Error::NotASocket`] or [`Error::Io`].
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(Error::SocketInUse { path: path.to_owned() }),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(Error::io("probe the socket", path)(e)),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("look at", path)(e)),
    }
    let fresh = fresh_name(path);
    let listener = UnixListener::bind(&fresh).map_err(Error::io("listen on", &fresh))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(Error::io("set up the socket", path))?;
    Ok(listener)
}

fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

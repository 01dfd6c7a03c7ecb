//! TCP: a thread per direction that blocks in large reads and writes, which is as few system calls
//! as there can be.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;

use super::aead::{RECORD_BYTES, Seal};

/// Connections at a time; two threads each.
const CONNECTIONS_MAX: usize = 256;
/// Bytes per read: as many whole records as fit the second-level cache beside their copy.
const READ_BYTES: usize = 218 * RECORD_BYTES;

/// Accepts on `listen` in a thread of its own, until the process ends.
pub(super) fn spawn(listen: SocketAddr, target: SocketAddr, aead: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("floor-accept".to_owned()).spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection beyond the limit, or without a thread, is closed by being dropped.
            if open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX {
                let open = Arc::clone(&open);
                let relay = move || {
                    if let Err(error) = relay(client, target, aead) {
                        eprintln!("floor: {target}: {error}");
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                };
                if thread::Builder::new().name("floor-tcp".to_owned()).spawn(relay).is_ok() {
                    continue;
                }
            }
            open.fetch_sub(1, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

fn relay(client: TcpStream, target: SocketAddr, aead: bool) -> anyhow::Result<()> {
    let target = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let (up_from, up_to) = (client.try_clone()?, target.try_clone()?);
    let up = thread::Builder::new()
        .name("floor-up".to_owned())
        .spawn(move || copy(&up_from, &up_to, aead))?;
    let down = copy(&target, &client, aead);
    let up = up.join().map_err(|_| anyhow::anyhow!("the upward direction panicked"))?;
    up.and(down)
}

/// One direction, to its end.
fn copy(from: &TcpStream, to: &TcpStream, aead: bool) -> anyhow::Result<()> {
    let mut seal = Seal::new()?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut from, mut to_end) = (from, to);
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // The other end has to learn of it.
                let _ = to.shutdown(Shutdown::Write);
                return Err(error.into());
            }
        };
        if aead {
            seal.stream(&buffer[..got]);
        }
        if let Err(error) = to_end.write_all(&buffer[..got]) {
            let _ = from.shutdown(Shutdown::Read);
            return Err(error.into());
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    Ok(())
}

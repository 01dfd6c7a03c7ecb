//! Attaches the program that picks the worker of an arriving packet.
//!
//! The sockets of a group are numbered in the order in which they were bound, which
//! [`crate::bind_workers`] makes the order of workers. Both kinds of program see the UDP payload.
//! The kernel falls back to its own hash when a classic program returns a number that is no socket.
//! Closing one socket renumbers the last one of the group into its place, so a group lives and
//! dies as a whole.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::error::Error;
use crate::sockets::ClientSocket;
use crate::sys;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicInstruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// Steers the packets of a group of client-facing sockets to their workers.
pub trait Steerer {
    /// The name for logs and errors.
    fn name(&self) -> &'static str;
    /// Attaches to the group that `member` belongs to, in place of what was attached before.
    fn attach(&self, member: &ClientSocket) -> Result<(), Error>;
}

/// A classic BPF program: needs no privileges.
#[derive(Clone, Debug)]
pub struct ClassicSteerer {
    program: Vec<ClassicInstruction>,
}

/// An sk_reuseport eBPF program that is already loaded.
#[derive(Debug)]
pub struct EbpfSteerer {
    program: OwnedFd,
}

impl ClassicSteerer {
    /// The program returns the index of the worker's socket.
    pub fn new(program: Vec<ClassicInstruction>) -> Self {
        ClassicSteerer { program }
    }
}

impl EbpfSteerer {
    /// Takes a descriptor of the loaded program; the attachment keeps the program alive.
    pub fn new(program: OwnedFd) -> Self {
        EbpfSteerer { program }
    }
}

impl Steerer for ClassicSteerer {
    fn name(&self) -> &'static str {
        "classic BPF"
    }

    fn attach(&self, member: &ClientSocket) -> Result<(), Error> {
        let mut filters: Vec<libc::sock_filter> = self
            .program
            .iter()
            .map(|i| libc::sock_filter {
                code: i.code,
                jt: i.jump_true,
                jf: i.jump_false,
                k: i.value,
            })
            .collect();
        let Ok(len) = u16::try_from(filters.len()) else {
            let source = io::Error::from_raw_os_error(libc::E2BIG);
            return Err(Error::Steer { steerer: self.name(), source });
        };
        let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
        // SAFETY: `program` points to `len` instructions that live until the call returns; the
        // kernel copies and verifies them. socket2 offers only SO_ATTACH_FILTER.
        let attached = unsafe {
            sys::set_option(
                member.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                &program,
            )
        };
        attached.map_err(|source| Error::Steer { steerer: self.name(), source })
    }
}

impl Steerer for EbpfSteerer {
    fn name(&self) -> &'static str {
        "sk_reuseport eBPF"
    }

    fn attach(&self, member: &ClientSocket) -> Result<(), Error> {
        sys::set_int(
            member.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_EBPF,
            self.program.as_raw_fd(),
        )
        .map_err(|source| Error::Steer { steerer: self.name(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientOptions, bind_workers};

    #[test]
    fn a_program_that_the_kernel_refuses_is_an_error_with_its_kind() {
        let workers =
            bind_workers(&["127.0.0.1:0".parse().unwrap()], 1, &ClientOptions::default()).unwrap();
        let socket = workers[0].v4.as_ref().unwrap();
        let falls_off = ClassicInstruction { code: 0x30, jump_true: 0, jump_false: 0, value: 0 };
        for program in [vec![], vec![falls_off], vec![falls_off; 70_000]] {
            let error = ClassicSteerer::new(program).attach(socket).unwrap_err();
            assert!(error.to_string().contains("classic BPF"), "{error}");
        }
        let no_program = std::fs::File::open("/dev/null").unwrap().into();
        let error = EbpfSteerer::new(no_program).attach(socket).unwrap_err();
        assert!(error.to_string().contains("sk_reuseport"), "{error}");
    }
}

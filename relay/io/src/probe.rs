//! Says whether io_uring can be used here, and if not, what stands in the way.

use std::fs;

use crate::limits;
use crate::uring::trial::{self, Failure, Step};

/// The oldest kernel that has everything: deferred task work came with it.
const KERNEL_FLOOR: &str = "6.1";

/// Why the host refuses io_uring; the text names the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error(
        "the sysctl kernel.io_uring_disabled is {value}; 0 allows it to everybody, \
         1 to CAP_SYS_ADMIN and the group kernel.io_uring_group"
    )]
    Disabled { value: u32 },
    #[error(
        "forbidden (EPERM) though no sysctl disables it: most likely by the container's seccomp \
         profile (the default since Docker 25 and containerd 2) or a security module"
    )]
    Forbidden,
    #[error("kernel {release} has no io_uring, or a seccomp profile hides it (ENOSYS)")]
    Missing { release: String },
    #[error("kernel {release} is too old: {KERNEL_FLOOR} or newer is needed ({step} failed)")]
    TooOld { release: String, step: &'static str },
    #[error("kernel {release} lacks the io_uring operation {opcode}")]
    MissingOpcode { release: String, opcode: &'static str },
    #[error(
        "out of memory that may be locked: RLIMIT_MEMLOCK is {limit_bytes} bytes; raise it \
         (LimitMEMLOCK= in systemd) or grant CAP_IPC_LOCK"
    )]
    LockedMemory { limit_bytes: u64 },
    #[error("out of file descriptors (RLIMIT_NOFILE)")]
    NoDescriptors,
    #[error("{step} failed with errno {errno}")]
    Other { step: &'static str, errno: i32 },
}

/// Tries a small ring with everything that the backend needs, and one datagram through it.
pub fn probe() -> Result<(), Refusal> {
    trial::run().map_err(|failure| explain(&failure, &Host::read()))
}

/// What the explanation depends on.
#[derive(Clone, Debug)]
struct Host {
    release: String,
    /// kernel.io_uring_disabled; `None` before Linux 6.6.
    disabled: Option<u32>,
    locked_bytes: u64,
}

impl Host {
    fn read() -> Host {
        let text = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Host {
            release: text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            disabled: text("/proc/sys/kernel/io_uring_disabled").and_then(|t| t.parse().ok()),
            locked_bytes: limits::locked_memory().map_or(0, |limit| limit.soft),
        }
    }
}

fn explain(failure: &Failure, host: &Host) -> Refusal {
    let release = host.release.clone();
    let step = failure.step.name();
    match (failure.step, failure.errno) {
        (Step::Opcode(opcode), _) => Refusal::MissingOpcode { release, opcode },
        (_, libc::EPERM | libc::EACCES) => match host.disabled {
            Some(value @ 1..) => Refusal::Disabled { value },
            _ => Refusal::Forbidden,
        },
        (_, libc::ENOSYS) => Refusal::Missing { release },
        (_, libc::ENOMEM) => Refusal::LockedMemory { limit_bytes: host.locked_bytes },
        (_, libc::EMFILE | libc::ENFILE) => Refusal::NoDescriptors,
        (_, libc::EINVAL) => Refusal::TooOld { release, step },
        (_, errno) => Refusal::Other { step, errno },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(step: Step, errno: i32, disabled: Option<u32>) -> Refusal {
        let host = Host { release: "5.15.0".to_owned(), disabled, locked_bytes: 65_536 };
        explain(&Failure { step, errno }, &host)
    }

    #[test]
    fn each_cause_is_told_from_the_others() {
        let cases = [
            (refusal(Step::Create, libc::EPERM, Some(2)), "kernel.io_uring_disabled is 2"),
            (refusal(Step::Create, libc::EPERM, Some(0)), "seccomp"),
            (refusal(Step::Create, libc::EPERM, None), "seccomp"),
            (refusal(Step::Create, libc::ENOSYS, None), "ENOSYS"),
            (refusal(Step::Create, libc::EINVAL, None), "5.15.0 is too old"),
            (refusal(Step::Create, libc::ENOMEM, None), "RLIMIT_MEMLOCK is 65536"),
            (refusal(Step::Create, libc::EMFILE, None), "RLIMIT_NOFILE"),
            (refusal(Step::Buffers, libc::EINVAL, None), "provided buffers"),
            (refusal(Step::Opcode("SENDMSG"), 0, None), "operation SENDMSG"),
            (refusal(Step::Receive, libc::EIO, None), "errno 5"),
        ];
        for (refusal, words) in cases {
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
    }

    #[test]
    fn the_answer_here_is_the_same_every_time_and_leaks_nothing() {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let first = probe();
        let before = open();
        for _ in 0..50 {
            assert_eq!(probe(), first);
        }
        // Other tests of this process open and close descriptors meanwhile; a leak would be 50.
        assert!(open() < before + 40, "{} descriptors, {before} before", open());
    }
}

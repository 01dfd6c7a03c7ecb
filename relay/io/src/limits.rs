//! Resource limits of the process.

use crate::error::Error;

/// A limit as it is after raising: what is used now and what the hard limit would allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// Raises the number of open files to at least `wanted`, or to the hard limit if the process may
/// not raise that. Every target-facing socket is one file, so `soft` is the bound on tunnels.
pub fn raise_open_files(wanted: u64) -> Result<Limit, Error> {
    raise(libc::RLIMIT_NOFILE, wanted, "RLIMIT_NOFILE")
}

/// Raises the bytes that the process may lock (rings, AF_XDP memory) to at least `wanted`.
pub fn raise_locked_memory(wanted: u64) -> Result<Limit, Error> {
    raise(libc::RLIMIT_MEMLOCK, wanted, "RLIMIT_MEMLOCK")
}

/// The bytes that the process may lock now.
pub fn locked_memory() -> Result<Limit, Error> {
    get(libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK")
}

fn raise(
    resource: libc::__rlimit_resource_t,
    wanted: u64,
    what: &'static str,
) -> Result<Limit, Error> {
    let now = get(resource, what)?;
    if now.soft >= wanted {
        return Ok(now);
    }
    let full = Limit { soft: wanted, hard: wanted.max(now.hard) };
    if set(resource, full, what).is_ok() {
        return Ok(full);
    }
    let soft = Limit { soft: wanted.min(now.hard), hard: now.hard };
    set(resource, soft, what)?;
    Ok(soft)
}

fn get(resource: libc::__rlimit_resource_t, what: &'static str) -> Result<Limit, Error> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable. The standard library doesn't read limits.
    let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
    if result != 0 {
        return Err(Error::last_os(what));
    }
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

fn set(resource: libc::__rlimit_resource_t, limit: Limit, what: &'static str) -> Result<(), Error> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is a valid structure that is only read.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    if result == 0 { Ok(()) } else { Err(Error::last_os(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_can_be_raised_to_the_hard_limit_and_no_lower() {
        let now = get(libc::RLIMIT_NOFILE, "RLIMIT_NOFILE").unwrap();
        let raised = raise_open_files(now.hard).unwrap();
        assert_eq!(raised.soft, now.hard);
        assert_eq!(raise_open_files(1).unwrap().soft, now.hard, "never lowered");
    }

    #[test]
    fn asking_for_more_than_allowed_gives_what_is_allowed() {
        let raised = raise_open_files(1 << 40).unwrap();
        assert!(raised.soft >= 1024);
    }
}

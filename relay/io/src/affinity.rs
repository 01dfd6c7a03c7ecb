//! Where a worker's thread runs and what it costs.

use std::mem;
use std::time::Duration;

use crate::error::Error;

/// Pins the calling thread to one CPU.
pub fn pin(cpu: usize) -> Result<(), Error> {
    // SAFETY: `cpu_set_t` is a plain bit mask, all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        let source = std::io::Error::from_raw_os_error(libc::EINVAL);
        return Err(Error::Os { what: "pin to a CPU beyond the CPU mask", source });
    }
    // SAFETY: `cpu` is within the mask, checked above; CPU_SET has no other requirement.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: thread 0 is the caller; `set` is a valid mask of the size given. The standard
    // library can't pin threads.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 { Ok(()) } else { Err(Error::last_os("sched_setaffinity")) }
}

/// The CPUs that the calling thread may use, in order.
pub fn allowed() -> Result<Vec<usize>, Error> {
    // SAFETY: as in `pin`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is writable and of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result != 0 {
        return Err(Error::last_os("sched_getaffinity"));
    }
    let bits = 8 * size_of_val(&set);
    // SAFETY: the index stays within the mask.
    Ok((0..bits).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// CPU time, user and system, that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; this clock exists on every Linux, so the call can't fail. The
    // standard library doesn't read it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_one_cpu() {
        std::thread::spawn(|| {
            let cpu = *allowed().unwrap().last().unwrap();
            pin(cpu).unwrap();
            assert_eq!(allowed().unwrap(), [cpu]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error() {
        assert!(pin(usize::MAX).is_err());
        assert!(pin(1023).is_err());
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = thread_cpu_time();
        let mut x = 1u64;
        while thread_cpu_time() - before < Duration::from_millis(2) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }
}

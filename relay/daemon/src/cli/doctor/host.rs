//! Kernel, privileges and limits.

use std::fs;
use std::path::Path;

use caps::Capability;
use weir_io::limits;

use super::Finding;
use crate::config::Config;
use crate::privileges;

/// The oldest kernel that the io_uring backend is made for, and the one it is best with.
const KERNEL_FLOOR: (u32, u32) = (6, 1);
const KERNEL_RECOMMENDED: (u32, u32) = (6, 12);

/// Two buffers of 4 MiB take what 10 Gbit/s bring in 6 ms.
const SOCKET_BUFFER_WANTED: u64 = 4 << 20;

/// Rings, registered buffers and BPF maps of a worker take some megabytes.
const MEMLOCK_WANTED: u64 = 64 << 20;

pub(super) fn findings(config: Option<&Config>) -> Vec<Finding> {
    vec![
        kernel(),
        btf(),
        capabilities(),
        bpffs(),
        programs(),
        io_uring(),
        buffer("rmem_max", "/proc/sys/net/core/rmem_max"),
        buffer("wmem_max", "/proc/sys/net/core/wmem_max"),
        open_files(config),
        locked_memory(),
    ]
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let version = (next(), next());
    let found = format!("Linux {release}");
    if version < KERNEL_FLOOR {
        let advice = "io_uring needs 6.1; older kernels run the poll backend";
        Finding::warn("kernel", found, advice)
    } else if version < KERNEL_RECOMMENDED {
        Finding::warn("kernel", found, "6.12 or newer is recommended")
    } else {
        Finding::ok("kernel", found)
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Finding::ok("btf", "the kernel describes its types");
    }
    let advice = "only the kernel programs' debugging needs it; use a kernel with DEBUG_INFO_BTF";
    Finding::warn("btf", "/sys/kernel/btf/vmlinux is missing", advice)
}

fn capabilities() -> Finding {
    let wanted = [
        ("CAP_BPF", Capability::CAP_BPF),
        ("CAP_NET_ADMIN", Capability::CAP_NET_ADMIN),
        ("CAP_PERFMON", Capability::CAP_PERFMON),
    ];
    let missing: Vec<&str> =
        wanted.iter().filter(|(_, cap)| !privileges::has(*cap)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Finding::ok("privileges", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    }
    Finding::warn(
        "privileges",
        format!("{} missing", missing.join(", ")),
        "kernel programs (xdp) need them: run as root, or AmbientCapabilities= in the unit",
    )
}

fn bpffs_is_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some("/sys/fs/bpf") && fields.next() == Some("bpf")
    })
}

/// Loads the kernel programs and throws them away.
fn programs() -> Finding {
    // The probe would mount bpffs, which isn't a doctor's to do.
    if !bpffs_is_mounted() || !privileges::has(Capability::CAP_BPF) {
        let advice = "run doctor as root with bpffs mounted, or keep xdp.mode = \"off\"";
        return Finding::warn("programs", "can't be tried without CAP_BPF and bpffs", advice);
    }
    match weir_xdp::probe() {
        Ok(()) => Finding::ok("programs", "the kernel accepts the XDP and tc programs"),
        Err(error) => {
            Finding::warn("programs", error.to_string(), "the relay runs with xdp.mode = \"off\"")
        }
    }
}

fn bpffs() -> Finding {
    if bpffs_is_mounted() {
        return Finding::ok("bpffs", "/sys/fs/bpf is mounted");
    }
    let advice =
        "counts of kernel programs survive a crash only with: mount -t bpf bpf /sys/fs/bpf";
    Finding::warn("bpffs", "/sys/fs/bpf is not mounted", advice)
}

fn io_uring() -> Finding {
    match weir_io::probe() {
        Ok(()) => Finding::ok("io_uring", "has everything that is needed"),
        Err(refusal) => Finding::warn("io_uring", refusal.to_string(), "the poll backend is used"),
    }
}

fn buffer(check: &'static str, path: &str) -> Finding {
    let value: u64 =
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let found = format!("{value} bytes");
    if value >= SOCKET_BUFFER_WANTED {
        return Finding::ok(check, found);
    }
    let advice =
        format!("bursts are lost without CAP_NET_ADMIN: sysctl -w net.core.{check}=16777216");
    Finding::warn(check, found, advice)
}

fn open_files(config: Option<&Config>) -> Finding {
    let wanted = config.map_or(65_536, |config| {
        u64::from(config.limits.sockets) * u64::from(config.relay.workers) + 1_024
    });
    match limits::raise_open_files(wanted) {
        Ok(limit) if limit.soft >= wanted => {
            Finding::ok("open files", format!("{} are possible", limit.soft))
        }
        Ok(limit) => Finding::warn(
            "open files",
            format!("{} of {wanted}", limit.soft),
            "each tunnel is one, but UDP tunnels of io.backend xsk: LimitNOFILE= in the unit, or lower \
             limits.sockets",
        ),
        Err(error) => Finding::warn("open files", error.to_string(), "look at ulimit -n"),
    }
}

fn locked_memory() -> Finding {
    let unlimited = privileges::has(Capability::CAP_IPC_LOCK);
    match limits::locked_memory() {
        Ok(limit) if unlimited || limit.soft >= MEMLOCK_WANTED => {
            Finding::ok("memlock", if unlimited { "CAP_IPC_LOCK" } else { "enough" })
        }
        Ok(limit) => Finding::warn(
            "memlock",
            format!("{} bytes", limit.soft),
            "rings with registered buffers and AF_XDP's shared memory need more: LimitMEMLOCK=infinity \
             in the unit, or CAP_IPC_LOCK",
        ),
        Err(error) => Finding::warn("memlock", error.to_string(), "look at ulimit -l"),
    }
}

//! How the values of the file are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use weir_core::Cidr;

use super::reader::{FromToml, name_of};

impl FromToml for String {
    const WANTED: &'static str = "a string";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }
}

impl FromToml for PathBuf {
    const WANTED: &'static str = "a path, as a string";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match text(value)? {
            "" => Err("the path is empty".to_owned()),
            path => Ok(PathBuf::from(path)),
        }
    }
}

impl FromToml for bool {
    const WANTED: &'static str = "true or false";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("expected a boolean, found {}", name_of(value)))
    }
}

impl FromToml for u64 {
    const WANTED: &'static str = "a whole number that is not negative";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        whole(value)
    }
}

impl FromToml for u32 {
    const WANTED: &'static str = "a whole number up to 4294967295";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        whole(value)?.try_into().map_err(|_| "the number is too large".to_owned())
    }
}

impl FromToml for u16 {
    const WANTED: &'static str = "a whole number from 0 to 65535";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        whole(value)?.try_into().map_err(|_| "the number is too large".to_owned())
    }
}

impl FromToml for SocketAddr {
    const WANTED: &'static str = "an address and port, like \"0.0.0.0:4433\" or \"[::]:4433\"";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("`{text}` is not an IP address and port"))
    }
}

impl FromToml for IpAddr {
    const WANTED: &'static str = "an IP address without a port";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("`{text}` is not an IP address"))
    }
}

impl FromToml for Ipv4Addr {
    const WANTED: &'static str = "an IPv4 address";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))
    }
}

impl FromToml for Ipv6Addr {
    const WANTED: &'static str = "an IPv6 address";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("`{text}` is not an IPv6 address"))
    }
}

/// Where DNS is asked; port 53 unless given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameServer(pub SocketAddr);

impl FromToml for NameServer {
    const WANTED: &'static str = "an IP address, with a port if it isn't 53";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let found = bare.or_else(|_| text.parse::<SocketAddr>());
        found.map(Self).map_err(|_| format!("`{text}` is not an IP address or address:port"))
    }
}

impl FromToml for Cidr {
    const WANTED: &'static str =
        "a range like \"10.0.0.0/8\" or \"fd00::/8\"; host bits must be zero";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("`{text}` is not an address range"))
    }
}

/// 32 bytes in hex, with or without `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hex32(pub [u8; 32]);

impl FromToml for Hex32 {
    const WANTED: &'static str = "32 bytes as 64 hex digits";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            // The text may be a secret that was pasted here by mistake: it isn't repeated.
            return Err("there are characters that aren't hex digits".to_owned());
        }
        if digits.len() != 64 {
            return Err(format!("{} hex digits instead of 64", digits.len()));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| "not text".to_owned())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| "not hex".to_owned())?;
        }
        Ok(Self(bytes))
    }
}

/// A number of bytes: a plain integer, or text with a unit of 1024 ("64 MiB").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(pub u64);

impl FromToml for ByteSize {
    const WANTED: &'static str = "a number of bytes, or text like \"64 MiB\"";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let Ok(text) = text(value) else { return whole(value).map(Self) };
        let wrong = || format!("`{text}` is not a size");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl FromToml for Duration {
    const WANTED: &'static str = "a number of seconds";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        /// A year: longer than any wait that makes sense here, and far from overflow.
        const SECONDS_MAX: u64 = 365 * 86_400;
        match whole(value)? {
            seconds if seconds <= SECONDS_MAX => Ok(Self::from_secs(seconds)),
            seconds => Err(format!("{seconds} seconds is more than a year")),
        }
    }
}

/// Declares an enum that is written as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromToml for $name {
            const WANTED: &'static str = concat!("one of:" $(, " \"", $word, "\"")+);
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                match text(value)? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("`{other}` is not known here")),
                }
            }
        }
    };
}

words! {
    /// Which backend carries the packets.
    BackendChoice {
        /// io_uring where the kernel lets us, else poll.
        Auto = "auto",
        Uring = "uring",
        Poll = "poll",
        /// AF_XDP beside io_uring; needs the kernel programs and `[io.xsk]`.
        Xsk = "xsk",
    }
}

words! {
    /// Whether the driver of an interface shares its own memory with the relay.
    ZeroCopy {
        /// If it can.
        Auto = "auto",
        On = "on",
        Off = "off",
    }
}

words! {
    /// The congestion controller of client-facing connections.
    Congestion {
        /// As most senders on the internet: fair beside them (RFC 9438).
        Cubic = "cubic",
        /// Measures the path instead of filling it until something is lost.
        Bbr = "bbr",
        /// RFC 9002 as it is written.
        NewReno = "newreno",
    }
}

/// Ports from the first to the last, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortRange(pub RangeInclusive<u16>);

impl FromToml for PortRange {
    const WANTED: &'static str = "a range of ports like \"61000-65535\"";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let wrong = || format!("`{text}` is not a range of ports");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        match (port(first)?, port(last)?) {
            (first @ 1.., last) if first <= last => Ok(Self(first..=last)),
            _ => Err(wrong()),
        }
    }
}

words! {
    /// How the XDP program is attached.
    XdpMode {
        /// Native, else generic, else off; each step down is logged with its reason.
        Auto = "auto",
        Native = "native",
        Generic = "generic",
        Off = "off",
    }
}

words! {
    /// Who sends a packet to its worker.
    Steering {
        /// The eBPF program when XDP is on, else classic BPF, else the kernel's own hash.
        Auto = "auto",
        Ebpf = "ebpf",
        Classic = "classic",
        /// The kernel's hash of the addresses: a client that changes its port is handed over.
        Hash = "hash",
    }
}

words! {
    /// How log lines look.
    LogFormat {
        Text = "text",
        Json = "json",
    }
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("expected a string, found {}", name_of(value)))
}

fn whole(value: &DeValue<'_>) -> Result<u64, String> {
    let Some(integer) = value.as_integer() else {
        return Err(format!("expected a whole number, found {}", name_of(value)));
    };
    u64::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| format!("{integer} is negative or too large"))
}

/// A packet counter. Monotonic, never cleared; the values of all CPUs are to be added up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets as on the wire: an offloaded train counts its segments.
    pub packets: u64,
    /// UDP or TCP payload bytes.
    pub payload_bytes: u64,
    /// Bytes of the Ethernet frames without preamble and frame check sequence, padding included,
    /// the headers of every segment of an offloaded train included.
    pub wire_bytes: u64,
}

/// Both directions of one exit flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Target to relay, counted by XDP.
    pub ingress: Counter,
    /// Relay to target, counted by tc as handed to the device. User space adds what it sent
    /// through AF_XDP sockets.
    pub egress: Counter,
}

impl Counter {
    /// Adds the value of another CPU or another read. Wraps, like the kernel's own counters.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            payload_bytes: self.payload_bytes.wrapping_add(other.payload_bytes),
            wire_bytes: self.wire_bytes.wrapping_add(other.wire_bytes),
        }
    }

    /// What was added since the counter said `earlier`.
    #[must_use]
    pub const fn minus(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            payload_bytes: self.payload_bytes.wrapping_sub(earlier.payload_bytes),
            wire_bytes: self.wire_bytes.wrapping_sub(earlier.wire_bytes),
        }
    }
}

impl FlowCounters {
    /// Adds direction by direction.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { ingress: self.ingress.plus(other.ingress), egress: self.egress.plus(other.egress) }
    }

    /// Subtracts direction by direction.
    #[must_use]
    pub const fn minus(self, earlier: Self) -> Self {
        let ingress = self.ingress.minus(earlier.ingress);
        Self { ingress, egress: self.egress.minus(earlier.egress) }
    }
}

/// How the reuseport program found a socket. The number is the row in the map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Connection ID of the running generation.
    Current = 0,
    /// Connection ID of the generation that drains.
    Draining = 1,
    /// Not a connection ID of ours, as in a client's first Initial: hashed.
    Hashed = 2,
    /// Too short to carry a connection ID: worker 0.
    Short = 3,
    /// The chosen slot has no socket, or nothing is configured: the kernel's own hash decided.
    Fallback = 4,
}

impl Steering {
    /// All rows in order.
    pub const ALL: [Self; 5] =
        [Self::Current, Self::Draining, Self::Hashed, Self::Short, Self::Fallback];

    /// Label for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Draining => "draining",
            Self::Hashed => "hashed",
            Self::Short => "short",
            Self::Fallback => "fallback",
        }
    }
}

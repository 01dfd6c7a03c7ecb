//! What becomes of a packet, and why. Each reason has a fixed row in the verdict map.

/// Which hook saw the packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// XDP: from the wire.
    Ingress = 0,
    /// tc: to the wire.
    Egress = 1,
}

impl Direction {
    /// Both, in row order.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Label for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

const ROWS_PER_DIRECTION: u32 = 64;

/// Entries of the verdict map.
pub const VERDICT_ROWS: u32 = 2 * ROWS_PER_DIRECTION;

/// The classifier's decision. Every packet gets exactly one, so the rows add up to all packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel's stack.
    Pass(PassReason),
    /// To or from a client-facing socket.
    Ours(OursKind),
    /// Discarded at the interface. Never on egress.
    Drop(DropReason),
}

impl Verdict {
    /// Row in the verdict map, below [`VERDICT_ROWS`].
    #[inline(always)]
    #[must_use]
    pub const fn row(self, direction: Direction) -> u32 {
        let reason = match self {
            Self::Pass(reason) => reason as u32,
            Self::Ours(kind) => kind as u32,
            Self::Drop(reason) => reason as u32,
        };
        direction as u32 * ROWS_PER_DIRECTION + reason
    }

    /// Every verdict there is, for readers of the map.
    pub fn all() -> impl Iterator<Item = Self> {
        let pass = PassReason::ALL.into_iter().map(Self::Pass);
        let ours = OursKind::ALL.into_iter().map(Self::Ours);
        pass.chain(ours).chain(DropReason::ALL.into_iter().map(Self::Drop))
    }

    /// Label for metrics: `pass`, `ours` or `drop`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Ours(_) => "ours",
            Self::Drop(_) => "drop",
        }
    }

    /// Label for metrics: the reason within the verdict.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.name(),
            Self::Ours(kind) => kind.name(),
            Self::Drop(reason) => reason.name(),
        }
    }
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $row:literal, $label:literal;)* }) => {
        $(#[$meta])*
        // Not a byte: it shares its place with words of other results, and the compiler would cut
        // those into a byte and the rest, at offsets that the kernel refuses on its stack.
        #[repr(u64)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant = $row,)* }

        impl $name {
            /// All of them, in row order.
            pub const ALL: [Self; [$($row),*].len()] = [$(Self::$variant),*];

            /// Label for metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a packet goes to the kernel untouched. Rows 0 to 31.
    PassReason {
        /// TCP or UDP of an exit flow that is in the table, and counted there too.
        Flow = 0, "flow";
        /// User space has not written the configuration yet.
        NotConfigured = 1, "not_configured";
        /// Neither IPv4 nor IPv6: ARP, LLDP and so on.
        NotIp = 2, "not_ip";
        /// More VLAN tags than [`VLAN_TAGS_MAX`](crate::VLAN_TAGS_MAX).
        VlanDepth = 3, "vlan_depth";
        /// The frame ends inside a header that is needed.
        Truncated = 4, "truncated";
        /// IP version, header length or total length contradict each other or the frame.
        BadIpHeader = 5, "bad_ip_header";
        /// A fragment, the first one included: ports or lengths are not those of the datagram.
        Fragment = 6, "fragment";
        /// IPv6 extension headers beyond the bounded walk.
        Extensions = 7, "extensions";
        /// ICMP or ICMPv6. "Packet too big" has to reach the kernel.
        Icmp = 8, "icmp";
        /// Another protocol above IP, ESP and "no next header" included.
        OtherProtocol = 9, "other_protocol";
        /// A UDP or TCP length that contradicts the IP length, on a packet that is not ours.
        BadTransport = 10, "bad_transport";
        /// TCP or UDP that is neither ours nor of a flow in the table: the host's own traffic.
        Unattributed = 11, "unattributed";
    }
}

reasons! {
    /// Which kind of client-facing packet. Rows 32 to 47. Long header types are those of QUIC
    /// version 1 and 2; only the first packet of a UDP datagram is looked at.
    OursKind {
        /// Short header: 1-RTT (RFC 8999, section 5.2).
        Short = 32, "short";
        /// Initial, in a UDP datagram of at least 1200 bytes.
        Initial = 33, "initial";
        /// 0-RTT.
        ZeroRtt = 34, "zero_rtt";
        /// Handshake.
        Handshake = 35, "handshake";
        /// Retry; a client never sends it.
        Retry = 36, "retry";
        /// Version Negotiation: version field zero; a client never sends it.
        VersionNegotiation = 37, "version_negotiation";
        /// Long header of a version we don't know (RFC 8999): the engine answers.
        UnknownVersion = 38, "unknown_version";
        /// No payload, or a long header cut short: the engine discards it.
        NotQuic = 39, "not_quic";
        /// UDP from our port, on egress.
        Sent = 40, "sent";
    }
}

reasons! {
    /// Why a packet was discarded. Rows 48 to 63.
    DropReason {
        /// QUIC Initial in a UDP datagram of less than 1200 bytes (RFC 9000, section 14.1).
        InitialTooShort = 48, "initial_too_short";
        /// To our port with a UDP length below 8 or beyond the IP payload (RFC 768).
        UdpLength = 49, "udp_length";
    }
}

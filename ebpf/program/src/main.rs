//! The programs in the kernel: adapters between a hook's context, `weir-classify`, and the maps.
//!
//! Nothing is decided here. A program reads the frame through [`frame`], asks the classifier, and
//! writes down the answer through [`count`].
#![no_std]
#![no_main]
// Inline assembly for BPF is not stable; one move is all that is used (frame.rs).
#![feature(asm_experimental_arch)]

mod count;
mod frame;
mod maps;
mod redirect;

use aya_ebpf::{
    bindings::{sk_action::SK_PASS, xdp_action},
    macros::{classifier, sk_reuseport, xdp},
    programs::{SkReuseportContext, TcContext, XdpContext},
};
use weir_abi::{Counter, Direction, Steering, Verdict};
use weir_classify::{Frame, classify, steer};

use frame::{DatagramFrame, SkbFrame, XdpFrame};

/// TCX_NEXT, which is TC_ACT_UNSPEC: whoever else is attached has the last word.
const TC_NEXT: i32 = -1;
/// TC_ACT_SHOT: dropped.
const TC_SHOT: i32 = 2;

/// Wire to host. `frags`: the program also attaches where a frame spans pages (jumbo MTU).
#[xdp(frags)]
pub fn weir_ingress(ctx: XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    let frame = XdpFrame::new(&ctx);
    let classified = classify(&frame, config, Direction::Ingress);
    let seen = Counter {
        packets: 1,
        payload_bytes: classified.payload_len.into(),
        wire_bytes: frame.frame_len().into(),
    };
    let flow = count::packet(Direction::Ingress, config, &classified, seen);
    if let Verdict::Drop(_) = classified.verdict {
        return xdp_action::XDP_DROP;
    }
    redirect::action(&ctx, &frame, config, &classified, flow)
}

/// Wire to host, where XDP would cost more than it brings: after GRO, so that a train is one packet
/// for the program and many for the counters.
#[classifier]
pub fn weir_ingress_tc(ctx: TcContext) -> i32 {
    let Some(config) = maps::CONFIG.get(0) else { return TC_NEXT };
    let frame = SkbFrame::new(&ctx);
    let classified = classify(&frame, config, Direction::Ingress);
    let seen = Counter {
        packets: frame.segments().into(),
        payload_bytes: classified.payload_len.into(),
        wire_bytes: frame.received_len(classified.payload_len).into(),
    };
    count::packet(Direction::Ingress, config, &classified, seen);
    if let Verdict::Drop(_) = classified.verdict { TC_SHOT } else { TC_NEXT }
}

/// Host to wire. Sees an offloaded train once; the counts are those of its segments.
#[classifier]
pub fn weir_egress(ctx: TcContext) -> i32 {
    let Some(config) = maps::CONFIG.get(0) else { return TC_NEXT };
    let frame = SkbFrame::new(&ctx);
    let classified = classify(&frame, config, Direction::Egress);
    let seen = Counter {
        packets: frame.segments().into(),
        payload_bytes: classified.payload_len.into(),
        wire_bytes: frame.wire_len().into(),
    };
    count::packet(Direction::Egress, config, &classified, seen);
    TC_NEXT
}

/// Picks the socket of the worker that owns the connection.
#[sk_reuseport]
pub fn weir_reuseport(ctx: SkReuseportContext) -> u32 {
    let (Some(current), Some(draining)) = (maps::STEER.get(0), maps::STEER.get(1)) else {
        return SK_PASS;
    };
    let (steering, index) = steer(&DatagramFrame::new(&ctx), current, draining);
    let found = match steering {
        Steering::Fallback => false,
        _ => maps::WORKERS.select_reuseport(&ctx, index).is_ok(),
    };
    count::steered(if found { steering } else { Steering::Fallback });
    // Without a selected socket the kernel falls back to its own hash.
    SK_PASS
}

/// The kernel compares this string with its list of GPL-compatible licences.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Compared by the loader before anything is attached (`weir_abi::ABI_SECTION`).
#[unsafe(link_section = "weir_abi")]
#[unsafe(no_mangle)]
static WEIR_ABI: [u8; 4] = weir_abi::ABI_VERSION.to_le_bytes();

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

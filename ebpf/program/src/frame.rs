//! `weir_classify::Frame` over the three contexts: direct reads from the linear part, and the
//! helper for the rare header beyond it.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{SkReuseportContext, TcContext, XdpContext},
};
use weir_classify::{Frame, OFFSET_MAX};

/// A frame before the stack, of which pages beyond the first are not mapped.
#[derive(Clone, Copy)]
pub struct XdpFrame<'a> {
    ctx: &'a XdpContext,
    linear: Linear,
    len: u32,
}

impl<'a> XdpFrame<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        let linear = Linear { start: ctx.data(), end: ctx.data_end() };
        // SAFETY: the helper takes the context that the kernel gave us and only reads it.
        let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
        Self { ctx, linear, len }
    }

    /// False also for a frame beyond any header's offset, which no AF_XDP socket takes.
    #[inline(always)]
    pub fn is_in_one_piece(&self) -> bool {
        self.linear.read::<0>(self.len).is_some()
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.linear.read(offset).or_else(|| {
            let mut bytes = MaybeUninit::<[u8; N]>::uninit();
            // SAFETY: the helper writes exactly N bytes to the buffer of N bytes, or fails.
            let failed = unsafe {
                bpf_xdp_load_bytes(self.ctx.ctx, offset, bytes.as_mut_ptr().cast(), N as u32)
            };
            // SAFETY: the helper succeeded, so the buffer is filled.
            if failed == 0 { Some(unsafe { bytes.assume_init() }) } else { None }
        })
    }
}

/// A packet above the device, perhaps a train: that the device or the stack will cut, or that GRO
/// has joined.
#[derive(Clone, Copy)]
pub struct SkbFrame<'a> {
    ctx: &'a TcContext,
    linear: Linear,
}

impl<'a> SkbFrame<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a TcContext) -> Self {
        Self { ctx, linear: Linear { start: ctx.data(), end: ctx.data_end() } }
    }

    /// Packets on the wire.
    #[inline(always)]
    pub fn segments(&self) -> u32 {
        // SAFETY: the context is the one the kernel gave us; the verifier rewrites the access.
        let segments = unsafe { (*self.ctx.skb.skb).gso_segs };
        segments.max(1)
    }

    /// Bytes that will be on the wire, the headers of every segment included.
    #[inline(always)]
    pub fn wire_len(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).wire_len }
    }

    /// Bytes that were on the wire: of a joined train one header is left, and the others were as
    /// long. (`wire_len` counts from the IP header here, and the train once.) A train whose payload
    /// the classifier doesn't know counts as it is.
    #[inline(always)]
    pub fn received_len(&self, payload_len: u32) -> u32 {
        let joined = self.segments() - 1;
        let header = if payload_len == 0 { 0 } else { self.ctx.len().wrapping_sub(payload_len) };
        self.ctx.len().wrapping_add(joined.wrapping_mul(header))
    }
}

impl Frame for SkbFrame<'_> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.linear.read(offset).or_else(|| load_from_skb(self.ctx.as_ptr(), offset))
    }
}

/// The payload of a UDP datagram that is looking for its socket.
pub struct DatagramFrame<'a> {
    ctx: &'a SkReuseportContext,
    linear: Linear,
}

impl<'a> DatagramFrame<'a> {
    /// The context begins at the UDP header.
    const PAYLOAD: u32 = 8;

    #[inline(always)]
    pub fn new(ctx: &'a SkReuseportContext) -> Self {
        Self { ctx, linear: Linear { start: ctx.data(), end: ctx.data_end() } }
    }
}

impl Frame for DatagramFrame<'_> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        (self.ctx.len() as u32).saturating_sub(Self::PAYLOAD)
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset + Self::PAYLOAD;
        self.linear.read(offset).or_else(|| load_from_skb(self.ctx.as_ptr(), offset))
    }
}

#[inline(always)]
fn load_from_skb<const N: usize>(ctx: *mut core::ffi::c_void, offset: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: the helper writes exactly N bytes to the buffer of N bytes, or fails.
    let failed = unsafe {
        bpf_skb_load_bytes(ctx.cast_const(), offset, bytes.as_mut_ptr().cast(), N as u32)
    };
    // SAFETY: the helper succeeded, so the buffer is filled.
    if failed == 0 { Some(unsafe { bytes.assume_init() }) } else { None }
}

/// The part of a packet that is mapped in one piece.
#[derive(Clone, Copy)]
struct Linear {
    start: usize,
    end: usize,
}

impl Linear {
    #[inline(always)]
    fn read<const N: usize>(self, offset: u32) -> Option<[u8; N]> {
        // The verifier wants a bound on what is added to a packet pointer.
        if offset > OFFSET_MAX {
            return None;
        }
        let mut at = self.start + offset as usize;
        // Without this the compiler merges the additions of several reads, and the verifier no
        // longer sees that the pointer that was compared is the pointer that is read.
        // SAFETY: one move of a register to itself. (Without any instruction the compiler would
        // write two line numbers for one offset, which the kernel refuses.)
        unsafe { asm!("{0} = {0}", inout(reg) at, options(nomem, nostack, preserves_flags)) };
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at .. at + N` lies in the linear part, as just compared; the kernel keeps it
        // mapped while the program runs, and the verifier proves the same again.
        Some(unsafe { (at as *const [u8; N]).read_unaligned() })
    }
}

//! Handing packets to AF_XDP sockets.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use weir_abi::{Config, Verdict};
use weir_classify::{Classified, Payload, fits_xsk, is_owner, steer, xsk_row};

use crate::{count::Found, frame::XdpFrame, maps};

/// To the socket of this interface and queue, or to the kernel.
#[inline(always)]
pub fn action(
    ctx: &XdpContext,
    frame: &XdpFrame<'_>,
    config: &Config,
    classified: &Classified,
    flow: Option<Found>,
) -> u32 {
    redirect(ctx, frame, config, classified, flow).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn redirect(
    ctx: &XdpContext,
    frame: &XdpFrame<'_>,
    config: &Config,
    classified: &Classified,
    flow: Option<Found>,
) -> Option<u32> {
    let is_ours = matches!(classified.verdict, Verdict::Ours(_));
    if config.redirect_len_max == 0 || !(is_ours || flow?.is_redirected()) {
        return None;
    }
    if !fits_xsk(frame, classified, config) || !frame.is_in_one_piece() {
        return None;
    }
    // SAFETY: the context is the one the kernel gave us; the verifier rewrites the accesses.
    let (if_index, queue) = unsafe { ((*ctx.ctx).ingress_ifindex, (*ctx.ctx).rx_queue_index) };
    let row = xsk_row(config, if_index, queue)?;
    if is_ours {
        let owner = maps::XSK_OWNERS.get(row)?;
        let steered =
            steer(&Payload::new(frame, classified), maps::STEER.get(0)?, maps::STEER.get(1)?);
        if !is_owner(owner, steered) {
            return None;
        }
    }
    // Without a socket in this row the helper itself answers that the packet passes.
    maps::XSKS.redirect(row, xdp_action::XDP_PASS.into()).ok()
}

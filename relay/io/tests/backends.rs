//! One suite, three backends: what `weir_core::port` promises holds for io_uring, epoll and AF_XDP.

mod suite;

use weir_io::BackendKind;

macro_rules! suite {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod uring {
            $(#[test]
            fn $name() {
                if crate::suite::has_uring() {
                    crate::suite::$module::$name(crate::BackendKind::Uring);
                }
            })*
        }
        mod poll {
            $(#[test]
            fn $name() {
                crate::suite::$module::$name(crate::BackendKind::Poll);
            })*
        }
        mod xsk {
            $(#[test]
            fn $name() {
                const NAME: &str = stringify!($name);
                if let Some((_, why)) = crate::NOT_FOR_FRAMES.iter().find(|(name, _)| *name == NAME)
                {
                    return eprintln!("not for AF_XDP: {why}");
                }
                if crate::suite::has_uring() && crate::suite::lab::is_possible() {
                    crate::suite::$module::$name(crate::BackendKind::Xsk);
                }
            })*
        }
    };
}

/// What AF_XDP does otherwise, and why.
const NOT_FOR_FRAMES: [(&str, &str); 3] = [
    ("packets_that_the_socket_dropped_are_counted", "its ring holds more than that"),
    ("steering_picks_the_worker", "the queue of the interface picks it"),
    (
        "a_refusal_is_reported_and_the_socket_stays_usable",
        "ICMP errors go to the kernel, which knows no socket of the port",
    ),
];

suite! {
    clients::trains_travel_whole_both_ways,
    clients::both_families_keep_to_themselves,
    clients::ecn_and_the_address_that_was_used_are_reported,
    clients::a_reply_carries_its_ecn_and_source,
    clients::more_packets_than_buffers_all_arrive,
    clients::packets_that_the_socket_dropped_are_counted,
    clients::a_reply_does_not_end_the_wait,
    clients::large_and_small_sends_keep_their_order,
    clients::steering_picks_the_worker,
    udp::every_size_comes_back_once,
    udp::a_train_that_is_too_long_for_the_kernel_is_sent_singly,
    udp::a_datagram_that_is_too_big_is_dropped_and_counted,
    udp::a_refusal_is_reported_and_the_socket_stays_usable,
    udp::a_socket_that_cannot_be_opened_fails_and_then_closes,
    udp::many_sockets_share_the_buffers,
    udp::an_index_is_used_again_with_the_next_epoch,
    tcp::ten_mebibytes_come_back_on_small_credits,
    tcp::nothing_is_read_without_credit,
    tcp::a_refused_connection_fails,
    tcp::a_connection_that_hangs_can_be_closed,
    tcp::fin_goes_after_everything_that_was_queued,
    tcp::eof_comes_after_the_last_byte_and_sending_goes_on,
    tcp::a_reset_by_the_target_is_reported_once,
    tcp::closing_sends_fin_or_reset_as_asked,
    tcp::a_target_that_does_not_read_holds_no_send_buffer,
    tcp::closing_while_data_is_stuck_ends,
    life::a_waker_ends_the_wait,
    life::polling_delays_neither_packets_nor_wakers_nor_deadlines,
    life::a_wake_between_turns_is_not_lost,
    life::a_deadline_is_met_and_not_early,
    life::send_buffers_run_out_and_come_back,
    life::running_out_of_buffers_ends_the_next_wait,
    life::the_hook_runs_before_the_first_packet_and_after_the_last_call,
    life::descriptors_are_all_given_back,
    life::dropping_a_busy_backend_closes_every_flow,
}

/// What only AF_XDP promises.
mod frames {
    use crate::suite::{frames, has_uring, lab};

    macro_rules! frames {
        ($($name:ident),* $(,)?) => {
            $(#[test]
            fn $name() {
                if has_uring() && lab::is_possible() {
                    frames::$name(weir_io::BackendKind::Xsk);
                }
            })*
        };
    }

    frames! {
        both_sides_travel_as_frames,
        what_is_sent_is_counted_where_it_is_sent,
        an_unknown_neighbour_is_left_to_the_kernel,
        only_the_target_is_heard,
        flows_cost_no_descriptor,
    }
}

/// Frames beside sockets over the same veth pair, interleaved.
#[test]
#[ignore = "a measurement: it says something in a release build on a quiet machine only"]
fn cost() {
    use crate::suite::{cost, has_uring, lab, place};
    if !has_uring() || !lab::is_possible() {
        return;
    }
    let (mut frames, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        sockets.push(place::over_veth(|| cost::of_a_scattered_datagram(BackendKind::Uring)));
        frames.push(cost::of_a_scattered_datagram(BackendKind::Xsk));
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (frames, sockets) = (median(&mut frames), median(&mut sockets));
    println!("scattered: sockets {sockets:.0} ns, frames {frames:.0} ns, {:.2}", sockets / frames);
    assert!(frames < sockets, "frames are what is cheaper here");
}

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the host itself counts: frames and bytes at its edges, and each reason to drop one.
//!
//! The engine has its own counters and drop reasons; these are for what happens before a frame
//! reaches the engine and after it has left it. Every frame that ends here ends with a name.

use std::sync::atomic::{AtomicU64, Ordering};

opte::named! {
    /// One counter of the host.
    pub enum Counter {
        /// Frames (super-frames count once) that guests have sent.
        GuestRxFrames = "guest_rx_frames",
        /// Bytes that guests have sent.
        GuestRxBytes = "guest_rx_bytes",
        /// Frames (super-frames count once) handed to guests.
        GuestTxFrames = "guest_tx_frames",
        /// Bytes handed to guests.
        GuestTxBytes = "guest_tx_bytes",
        /// Datagrams that came over the underlay.
        UnderlayRxDatagrams = "underlay_rx_datagrams",
        /// Bytes of these, from the Geneve header on.
        UnderlayRxBytes = "underlay_rx_bytes",
        /// Datagrams that were merged into a neighbour's frame after they came.
        UnderlayRxMerged = "underlay_rx_merged",
        /// Datagrams sent over the underlay.
        UnderlayTxDatagrams = "underlay_tx_datagrams",
        /// Bytes of these, from the Geneve header on.
        UnderlayTxBytes = "underlay_tx_bytes",
        /// Calls in which these were sent, one for a run of equal datagrams.
        UnderlayTxRuns = "underlay_tx_runs",
        /// Frames (super-frames count once) that a boundary sent out straight to the next device.
        OutsideTxFrames = "outside_tx_frames",
        /// Packets that a boundary sent out by their destination address.
        OutsideTxPackets = "outside_tx_packets",

        /// A guest's virtio-net header did not fit its frame.
        BadVnetHeader = "bad_vnet_header",
        /// A guest's frame was shorter than an Ethernet header.
        GuestFrameShort = "guest_frame_short",
        /// A guest's frame was longer than any that is taken.
        GuestFrameLong = "guest_frame_long",
        /// A guest's link had no room for what the guest has sent.
        LinkOverrun = "link_overrun",
        /// The kernel failed to give a guest's frame.
        TapReadError = "tap_read_error",
        /// The guest's device has no room.
        TapFull = "tap_full",
        /// The guest's device is not up.
        TapDown = "tap_down",
        /// The guest's device took only a part of the frame.
        TapShortWrite = "tap_short_write",
        /// The guest's device refused the frame.
        TapRefused = "tap_refused",
        /// A frame was for a port that is gone.
        NoSuchPort = "no_such_port",
        /// A frame was for the underlay, and none is set.
        NoUnderlay = "no_underlay",
        /// The engine's rewrite did not fit the frame.
        BadRewrite = "bad_rewrite",
        /// A super-frame could not be cut for the underlay.
        Uncuttable = "uncuttable",
        /// A frame was larger than the path over the underlay allows.
        UnderlayTooLarge = "underlay_emsgsize",
        /// The underlay's send buffer is full.
        UnderlayFull = "underlay_full",
        /// There is no route over the underlay to the other host.
        UnderlayUnreachable = "underlay_unreachable",
        /// The outer source address is not one of this host's.
        UnderlayBadSource = "underlay_bad_source",
        /// The kernel refused to send for another reason.
        UnderlaySendError = "underlay_send_error",
        /// The kernel failed to give a datagram.
        UnderlayReadError = "underlay_read_error",
        /// A datagram came over a link that is not the underlay's.
        UnderlayWrongLink = "underlay_wrong_link",
        /// The underlay's receive buffer had no room for a piece, of one datagram or several.
        UnderlayOverrun = "underlay_overrun",
        /// A datagram was longer than any that is taken.
        UnderlayTruncated = "underlay_truncated",

        /// Control requests served.
        ControlRequests = "control_requests",
        /// Control messages that were no request, or not of our version.
        ControlBadMessages = "control_bad_messages",
        /// Control connections refused because there are too many.
        ControlRefused = "control_refused",
    }
}

/// All counters of a host, shared by its threads.
#[derive(Debug)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several.
    pub fn add(&self, counter: Counter, amount: usize) {
        if let Some(cell) = self.0.get(counter as usize) {
            cell.fetch_add(amount as u64, Ordering::Relaxed);
        }
    }

    /// The value of one.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Names and values of all, in their fixed order.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        Counter::ALL.iter().map(|counter| (counter.name(), self.value(*counter))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_values_belong_to_them() {
        let counters = Counters::default();
        for (index, counter) in Counter::ALL.iter().enumerate() {
            counters.add(*counter, index + 1);
        }
        let all = counters.all();
        for (index, (name, value)) in all.iter().enumerate() {
            assert_eq!(*value, index as u64 + 1);
            assert!(all[..index].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}

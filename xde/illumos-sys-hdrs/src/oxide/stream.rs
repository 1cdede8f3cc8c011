// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/stream.h` of the Oxide tree: data blocks remember where the headers of a packet are.

use crate::sys::stream;

/// Where the headers of a packet are, packed: `t_` of the tunnel, `p_` of the packet inside or of
/// the only one. Written by
/// [`mac_ether_set_pktinfo_t`](super::mac_provider::mac_ether_set_pktinfo_t) alone.
///
/// Of the `MEOI_` flags those of the tunnel leave out `MEOI_L4INFO_SET`, those of the packet
/// `MEOI_TUNINFO_SET`; flags above the one left out stand one place lower.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct packed_meoi_t {
    /// Bit-fields, from the lowest bit: `t_flags` 5, `p_flags` 5, `t_tuntype` 6.
    pub(crate) flag_bits: u16,
    /// Bit-fields, from the lowest bit: `t_l2hlen` 5, `p_l2hlen` 5, `p_l4hlen` 6.
    pub(crate) length_bits: u16,
    /// Bytes of the tunnel's IP header.
    pub t_l3hlen: u16,
    /// Bytes of the packet's IP header.
    pub p_l3hlen: u16,
    /// Type of the tunnel's network layer.
    pub t_l3proto: u16,
    /// Type of the packet's network layer.
    pub p_l3proto: u16,
    /// Bytes of the tunnel header.
    pub t_tunhlen: u16,
    /// Protocol of the packet's transport layer.
    pub p_l4proto: u8,
}

impl packed_meoi_t {
    /// Which facts of the tunnel are known.
    pub const fn t_flags(&self) -> u16 {
        self.flag_bits & 0x1f
    }

    /// Which facts of the packet are known.
    pub const fn p_flags(&self) -> u16 {
        self.flag_bits >> 5 & 0x1f
    }

    /// `METT_` kind of the tunnel.
    pub const fn t_tuntype(&self) -> u16 {
        self.flag_bits >> 10
    }

    /// Bytes of the tunnel's link header.
    pub const fn t_l2hlen(&self) -> u16 {
        self.length_bits & 0x1f
    }

    /// Bytes of the packet's link header.
    pub const fn p_l2hlen(&self) -> u16 {
        self.length_bits >> 5 & 0x1f
    }

    /// Bytes of the packet's transport header.
    pub const fn p_l4hlen(&self) -> u16 {
        self.length_bits >> 10
    }
}

/// Facts, or whether there are any.
#[repr(C)]
#[derive(Clone, Copy)]
pub union dblk_facts {
    /// 0 when nothing is known.
    pub valid: u16,
    /// What is known.
    pub pktinfo: packed_meoi_t,
}

/// Data. See datab(9S).
#[repr(C)]
pub struct dblk_t {
    /// What every kernel has.
    pub base: stream::dblk_t,
    /// Where the headers are.
    pub db_meoi: dblk_facts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_fields_fill_their_words_from_the_lowest_bit() {
        let flags = packed_meoi_t { flag_bits: 3 | 17 << 5 | 41 << 10, ..Default::default() };
        assert_eq!((flags.t_flags(), flags.p_flags(), flags.t_tuntype()), (3, 17, 41));
        let lengths = packed_meoi_t { length_bits: 14 | 22 << 5 | 60 << 10, ..Default::default() };
        assert_eq!((lengths.t_l2hlen(), lengths.p_l2hlen(), lengths.p_l4hlen()), (14, 22, 60));
    }
}

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_client.h`: how a driver uses a link.

use super::mac::{mac_emul_t, mac_handle_t, mac_rx_t};
use super::stream::mblk_t;
use super::types::{c_char, c_int, c_uint, c_void, datalink_id_t, uintptr_t};

opaque! {
    /// What stands behind a [`mac_client_handle_t`].
    __mac_client_handle;
    /// What stands behind a [`mac_unicast_handle_t`].
    __mac_unicast_handle;
    /// What stands behind a [`mac_promisc_handle_t`].
    __mac_promisc_handle;
    /// What stands behind a [`mac_perim_handle_t`].
    __mac_perim_handle;
}

/// One client of a link.
pub type mac_client_handle_t = *mut __mac_client_handle;
/// An address of a client.
pub type mac_unicast_handle_t = *mut __mac_unicast_handle;
/// A client's ear for packets of others.
pub type mac_promisc_handle_t = *mut __mac_promisc_handle;
/// Right to change a link: its perimeter.
pub type mac_perim_handle_t = *mut __mac_perim_handle;
/// 0, or what to wait for before sending more.
pub type mac_tx_cookie_t = uintptr_t;

/// Why an address was refused.
pub type mac_diag_t = c_uint;

/// [`mac_client_open`]: the client is a virtual link.
pub const MAC_OPEN_FLAGS_IS_VNIC: u16 = 0x1;
/// [`mac_client_open`]: nobody else may have the link's own address.
pub const MAC_OPEN_FLAGS_EXCLUSIVE: u16 = 0x2;
/// [`mac_client_open`]: name the client after the data link.
pub const MAC_OPEN_FLAGS_USE_DATALINK_NAME: u16 = 0x10;
/// [`mac_client_open`]: the client has no address and hears only by [`mac_promisc_add`].
pub const MAC_OPEN_FLAGS_NO_UNICAST_ADDR: u16 = 0x40;

/// [`mac_unicast_add`]: do not look whether another link has the address.
pub const MAC_UNICAST_NODUPCHECK: u16 = 0x1;
/// [`mac_unicast_add`]: the link's own address.
pub const MAC_UNICAST_PRIMARY: u16 = 0x2;

/// What a client hears of packets of others.
pub type mac_client_promisc_type_t = c_uint;
/// All packets of the link.
pub const MAC_CLIENT_PROMISC_ALL: mac_client_promisc_type_t = 0;
/// Packets for the client's addresses and VLAN.
pub const MAC_CLIENT_PROMISC_FILTERED: mac_client_promisc_type_t = 1;
/// Multicast packets.
pub const MAC_CLIENT_PROMISC_MULTI: mac_client_promisc_type_t = 2;

/// [`mac_promisc_add`]: not what the client sent itself.
pub const MAC_PROMISC_FLAGS_NO_TX_LOOP: u16 = 0x1;
/// [`mac_promisc_add`]: leave the hardware's filter as it is.
pub const MAC_PROMISC_FLAGS_NO_PHYS: u16 = 0x2;

/// [`mac_tx`]: free what the hardware has no room for.
pub const MAC_DROP_ON_NO_DESC: u16 = 0x1;
/// [`mac_tx`]: give back what the hardware has no room for.
pub const MAC_TX_NO_ENQUEUE: u16 = 0x2;

unsafe extern "C" {
    /// Opens a link by its number; error number. The caller must not be in the link's perimeter.
    ///
    /// Context: user, kernel. Source: `sys/mac.h`; no manual page.
    pub fn mac_open_by_linkid(link: datalink_id_t, handle: *mut mac_handle_t) -> c_int;

    /// Opens a link by its name; error number. Asks a process outside of the kernel for the number.
    ///
    /// Context: user, kernel; no lock held. Source: `sys/mac.h`; no manual page.
    pub fn mac_open_by_linkname(name: *const c_char, handle: *mut mac_handle_t) -> c_int;

    /// Closes a link.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_close(handle: mac_handle_t);

    /// Becomes a client of a link, of this name; null for a name made up. Error number.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_client_open(
        handle: mac_handle_t,
        client: *mut mac_client_handle_t,
        name: *mut c_char,
        flags: u16,
    ) -> c_int;

    /// Is a client no more. Its addresses and ears must be gone.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_client_close(client: mac_client_handle_t, flags: u16);

    /// Name of the client, closed by NUL, valid as long as the client.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_client_name(client: mac_client_handle_t) -> *mut c_char;

    /// Gives a client an address and a VLAN (0 for none); with [`MAC_UNICAST_PRIMARY`] `address` is
    /// null. Error number, with the reason in `diag`.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_unicast_add(
        client: mac_client_handle_t,
        address: *mut u8,
        flags: u16,
        added: *mut mac_unicast_handle_t,
        vlan: u16,
        diag: *mut mac_diag_t,
    ) -> c_int;

    /// Takes the address from the client; error number.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_unicast_remove(client: mac_client_handle_t, added: mac_unicast_handle_t) -> c_int;

    /// The link's own address: as many bytes as it has, 6 for Ethernet.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_unicast_primary_get(handle: mac_handle_t, address: *mut u8);

    /// Packets for the client go to `callback` from now on.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_rx_set(client: mac_client_handle_t, callback: mac_rx_t, argument: *mut c_void);

    /// Packets for the client are dropped from now on. Does not wait for callbacks.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_rx_clear(client: mac_client_handle_t);

    /// Waits until callbacks of [`mac_rx_set`] have come back.
    ///
    /// Context: user, kernel; no lock held that the callback takes. Source: `sys/mac_client.h`; no
    /// manual page.
    pub fn mac_rx_barrier(client: mac_client_handle_t);

    /// Sends a chain. `hint` chooses the ring: packets of one connection have the same. Not 0: the
    /// link is full, and without flags the chain waits inside of the MAC layer; with
    /// [`MAC_TX_NO_ENQUEUE`] the rest is in `rest`.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_tx(
        client: mac_client_handle_t,
        chain: *mut mblk_t,
        hint: uintptr_t,
        flags: u16,
        rest: *mut *mut mblk_t,
    ) -> mac_tx_cookie_t;

    /// The client hears copies of packets of others; error number.
    ///
    /// Context: user, kernel. Source: `sys/mac_client.h`; no manual page.
    pub fn mac_promisc_add(
        client: mac_client_handle_t,
        kind: mac_client_promisc_type_t,
        callback: mac_rx_t,
        argument: *mut c_void,
        added: *mut mac_promisc_handle_t,
        flags: u16,
    ) -> c_int;

    /// It hears them no more. Waits for callbacks.
    ///
    /// Context: user, kernel; no lock held that the callback takes. Source: `sys/mac_client.h`; no
    /// manual page.
    pub fn mac_promisc_remove(added: mac_promisc_handle_t);

    /// Does in software what messages of a chain ask the hardware to do. The chain is changed in
    /// place: messages may vanish or become many. `tail` and `count` may be null.
    ///
    /// Context: user, kernel, interrupt; the chain is the caller's alone. Source:
    /// `sys/mac_client.h`; no manual page.
    pub fn mac_hw_emul(
        chain: *mut *mut mblk_t,
        tail: *mut *mut mblk_t,
        count: *mut c_uint,
        what: mac_emul_t,
    );
}

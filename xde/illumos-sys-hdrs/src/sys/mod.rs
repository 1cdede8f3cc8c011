// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Headers below `sys/`.

pub mod cmn_err;
pub mod condvar;
pub mod conf;
pub mod cpuvar;
pub mod cred;
pub mod ddi;
pub mod dditypes;
pub mod devops;
pub mod dld_impl;
pub mod dld_ioc;
pub mod dlpi;
pub mod dls;
pub mod dls_impl;
pub mod errno;
pub mod ethernet;
pub mod file;
pub mod id_space;
pub mod kmem;
pub mod kstat;
pub mod list_impl;
pub mod mac;
pub mod mac_client;
pub mod mac_client_priv;
pub mod mac_ether;
pub mod mac_offload;
pub mod mac_provider;
pub mod modctl;
pub mod mutex;
pub mod netstack;
pub mod open;
pub mod param;
pub mod pattr;
pub mod policy;
pub mod random;
pub mod rwlock;
pub mod sdt;
pub mod semaphore;
pub mod socket;
pub mod stat;
pub mod stream;
pub mod strsubr;
pub mod strsun;
pub mod sunddi;
pub mod sunddi_callbacks;
pub mod thread;
pub mod time;
pub mod types;
pub mod vlan;
pub mod zone;

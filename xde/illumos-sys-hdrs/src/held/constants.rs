// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What `rustc` makes of the constants.

use super::Constants;
use std::string::ToString;

/// Notes the values of constants of one module.
macro_rules! hold {
    ($constants:ident, $($module:ident)::+: $($name:ident),*) => {{
        use crate::$($module)::+::*;
        $($constants.insert(stringify!($name).to_string(), $name as i128);)*
    }};
}

/// Values of all that is in the table.
pub(super) fn declared() -> Constants {
    let mut constants = Constants::new();
    hold!(constants, sys::kmem: KM_SLEEP, KM_NOSLEEP, KM_NOSLEEP_LAZY, KM_NORMALPRI);
    hold!(constants, sys::dditypes:
        DDI_SUCCESS, DDI_FAILURE, DDI_ATTACH, DDI_RESUME, DDI_DETACH, DDI_SUSPEND,
        DDI_INFO_DEVT2DEVINFO, DDI_INFO_DEVT2INSTANCE);
    hold!(constants, sys::modctl: MODREV_1, MODMAXNAMELEN);
    hold!(constants, sys::devops: DEVO_REV, CB_REV);
    hold!(constants, sys::conf: D_NEW, D_MP, D_64BIT);
    hold!(constants, sys::mac_provider:
        MAC_VERSION, MAC_VERSION_V1, MC_RESERVED, MC_IOCTL, MC_GETCAPAB, MC_OPEN, MC_CLOSE,
        MC_SETPROP, MC_GETPROP, MC_PROPINFO);
    hold!(constants, sys::mutex: MUTEX_ADAPTIVE, MUTEX_SPIN, MUTEX_DRIVER, MUTEX_DEFAULT);
    hold!(constants, sys::rwlock: RW_DEFAULT, RW_DRIVER, RW_WRITER, RW_READER);
    hold!(constants, sys::condvar: CV_DEFAULT, CV_DRIVER);
    hold!(constants, sys::kstat:
        KSTAT_TYPE_RAW, KSTAT_TYPE_NAMED, KSTAT_DATA_CHAR, KSTAT_DATA_INT32, KSTAT_DATA_UINT32,
        KSTAT_DATA_INT64, KSTAT_DATA_UINT64, KSTAT_DATA_STRING, KSTAT_STRLEN, KSTAT_FLAG_VIRTUAL);
    hold!(constants, sys::stream:
        BPRI_LO, BPRI_MED, BPRI_HI, M_DATA, M_PROTO, M_IOCTL, M_IOCACK, M_IOCNAK);
    hold!(constants, sys::file: FKIOCTL, FNATIVE, FREAD, FWRITE, FEXCL);
    hold!(constants, sys::cmn_err: CE_CONT, CE_NOTE, CE_WARN, CE_PANIC, CE_IGNORE);
    hold!(constants, sys::stat: S_IFCHR);
    hold!(constants, sys::mac_offload:
        MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO, MAC_CAPAB_RINGS, LSO_TX_BASIC_TCP_IPV4,
        LSO_TX_BASIC_TCP_IPV6);
    hold!(constants, sys::dlpi:
        HCKSUM_ENABLE, HCKSUM_INET_PARTIAL, HCKSUM_INET_FULL_V4, HCKSUM_INET_FULL_V6,
        HCKSUM_IPHDRCKSUM, DL_ETHER);
    hold!(constants, sys::pattr:
        HCK_IPV4_HDRCKSUM, HCK_PARTIALCKSUM, HCK_FULLCKSUM, HCK_FULLCKSUM_OK,
        HCK_IPV4_HDRCKSUM_OK, HCK_FLAGS, HW_LSO, HW_LSO_FLAGS);
    hold!(constants, sys::mac_client:
        MAC_OPEN_FLAGS_IS_VNIC, MAC_OPEN_FLAGS_EXCLUSIVE, MAC_OPEN_FLAGS_NO_UNICAST_ADDR,
        MAC_PROMISC_FLAGS_NO_TX_LOOP, MAC_PROMISC_FLAGS_NO_PHYS, MAC_CLIENT_PROMISC_ALL,
        MAC_CLIENT_PROMISC_FILTERED, MAC_CLIENT_PROMISC_MULTI, MAC_DROP_ON_NO_DESC,
        MAC_TX_NO_ENQUEUE, MAC_UNICAST_PRIMARY, MAC_UNICAST_NODUPCHECK);
    hold!(constants, sys::mac:
        LINK_STATE_UNKNOWN, LINK_STATE_DOWN, LINK_STATE_UP, MAC_STAT_IFSPEED, MAC_PROP_MTU,
        DATALINK_INVALID_LINKID);
    hold!(constants, sys::errno:
        ENOENT, EINVAL, ENOTTY, EBUSY, ENOMEM, EFAULT, EEXIST, ENOSPC, ENOBUFS, ENOTSUP, EPROTO);
    hold!(constants, sys::ethernet: ETHERADDRL);
    hold!(constants, sys::zone: GLOBAL_ZONEID);
    hold!(constants, sys::param: MAXNAMELEN, MAXPATHLEN, MAXLINKNAMELEN);
    hold!(constants, sys::dld_ioc: DLDCOPYIN, DLDCOPYOUT, DLDCOPYINOUT, DLD_IOC);
    hold!(constants, sys::socket: AF_INET, AF_INET6);
    hold!(constants, inet::ip_ire: MATCH_IRE_ILL, MATCH_IRE_DSTONLY);
    hold!(constants, inet::ip: IRE_MULTICAST);
    constants
}

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What `rustc` makes of the structures: fields by the names that the table has.

use super::Layout;
use crate::{inet, oxide, sys};
use core::mem::{MaybeUninit, align_of, offset_of, size_of};
use std::string::ToString;

const fn size_behind<T>(_: *const T) -> usize {
    size_of::<T>()
}

/// Notes the size of a type.
macro_rules! size {
    ($layout:ident, $name:literal, $type:ty) => {
        $layout.insert(($name.to_string(), "(total)".to_string()), (0, size_of::<$type>()));
    };
}

/// Notes size and alignment of a structure, and the places of its fields.
macro_rules! hold {
    ($layout:ident, $name:literal, $type:path: $($($field:ident).+),*) => {
        size!($layout, $name, $type);
        $layout.insert(($name.to_string(), "(align)".to_string()), (0, align_of::<$type>()));
        let whole = MaybeUninit::<$type>::uninit();
        let address = whole.as_ptr();
        $(
            // SAFETY: `address` is that of `whole`, which lives; the place is named, not read.
            let size = size_behind(unsafe { &raw const (*address).$($field).+ });
            let field = [$(stringify!($field)),+].join(".");
            let place = (offset_of!($type, $($field).+), size);
            $layout.insert(($name.to_string(), field), place);
        )*
    };
}

/// Layout of all that is declared.
pub(super) fn declared() -> Layout {
    let mut layout = Layout::new();
    for part in
        [messages, drivers, locks_and_counters, links, data_links, routes, oxide_tree, types]
    {
        part(&mut layout);
    }
    layout
}

fn messages(layout: &mut Layout) {
    hold!(layout, "mblk_t", sys::stream::mblk_t:
        b_next, b_prev, b_cont, b_rptr, b_wptr, b_datap, b_band, b_tag, b_flag, b_queue);
    hold!(layout, "dblk_t", sys::stream::dblk_t:
        db_frtnp, db_base, db_lim, db_ref, db_type, db_flags, db_struioflag, db_cpid, db_cache,
        db_mblk, db_free, db_lastfree, db_cksumstart, db_cksumend, db_cksumstuff, db_struioun,
        db_struioun.enforce_alignment, db_struioun.data, db_struioun.cksum,
        db_struioun.cksum.cksum_val, db_struioun.cksum.cksum_val.u32,
        db_struioun.cksum.cksum_val.u16, db_struioun.cksum.flags, db_struioun.cksum.pad, db_fthdr,
        db_credp);
    hold!(layout, "frtn_t", sys::stream::frtn_t: free_func, free_arg);
}

fn drivers(layout: &mut Layout) {
    hold!(layout, "dev_ops", sys::devops::dev_ops:
        devo_rev, devo_refcnt, devo_getinfo, devo_identify, devo_probe, devo_attach, devo_detach,
        devo_reset, devo_cb_ops, devo_bus_ops, devo_power, devo_quiesce);
    hold!(layout, "cb_ops", sys::devops::cb_ops:
        cb_open, cb_close, cb_strategy, cb_print, cb_dump, cb_read, cb_write, cb_ioctl, cb_devmap,
        cb_mmap, cb_segmap, cb_chpoll, cb_prop_op, cb_str, cb_flag, cb_rev, cb_aread, cb_awrite);
    hold!(layout, "modlinkage", sys::modctl::modlinkage: ml_rev, ml_linkage);
    hold!(layout, "modldrv", sys::modctl::modldrv: drv_modops, drv_linkinfo, drv_dev_ops);
    hold!(layout, "modlmisc", sys::modctl::modlmisc: misc_modops, misc_linkinfo);
}

fn locks_and_counters(layout: &mut Layout) {
    hold!(layout, "kmutex_t", sys::mutex::kmutex_t: _opaque);
    hold!(layout, "krwlock_t", sys::rwlock::krwlock_t: _opaque);
    hold!(layout, "kcondvar_t", sys::condvar::kcondvar_t: _opaque);
    hold!(layout, "ksema_t", sys::semaphore::ksema_t: _opaque);
    hold!(layout, "kstat_t", sys::kstat::kstat_t:
        ks_crtime, ks_next, ks_kid, ks_module, ks_resv, ks_instance, ks_name, ks_type, ks_class,
        ks_flags, ks_data, ks_ndata, ks_data_size, ks_snaptime, ks_update, ks_private,
        ks_snapshot, ks_lock);
    hold!(layout, "kstat_named_t", sys::kstat::kstat_named_t:
        name, data_type, value, value.c, value.i32, value.ui32, value.str, value.str.addr,
        value.str.addr.ptr, value.str.addr.ptr32, value.str.addr.__pad, value.str.len, value.i64,
        value.ui64, value.l, value.ul, value.ll, value.ull, value.f, value.d);
    hold!(layout, "netstack_t", sys::netstack::netstack_t:
        netstack_u, netstack_u.nu_modules, netstack_u.nu_s, netstack_u.nu_s.nu_dls,
        netstack_u.nu_s.nu_iptun, netstack_u.nu_s.nu_str, netstack_u.nu_s.nu_hook,
        netstack_u.nu_s.nu_neti, netstack_u.nu_s.nu_arp, netstack_u.nu_s.nu_ip,
        netstack_u.nu_s.nu_icmp, netstack_u.nu_s.nu_udp, netstack_u.nu_s.nu_tcp,
        netstack_u.nu_s.nu_sctp, netstack_u.nu_s.nu_rts, netstack_u.nu_s.nu_ipsec,
        netstack_u.nu_s.nu_keysock, netstack_u.nu_s.nu_spdsock, netstack_u.nu_s.nu_ipsecah,
        netstack_u.nu_s.nu_ipsecesp);
    hold!(layout, "cpu_t", sys::cpuvar::cpu_t:
        cpu_id, cpu_seqid, cpu_flags, cpu_self, cpu_thread, cpu_idle_thread, cpu_pause_thread,
        cpu_lwp, cpu_fpowner, cpu_part, cpu_lpl, cpu_cache_offset, cpu_next, cpu_prev,
        cpu_next_onln, cpu_prev_onln, cpu_next_part, cpu_prev_part, cpu_next_lgrp, cpu_prev_lgrp);
    hold!(layout, "timestruc_t", sys::time::timestruc_t: tv_sec, tv_nsec);
}

fn links(layout: &mut Layout) {
    hold!(layout, "mac_register_t", sys::mac_provider::mac_register_t:
        m_version, m_type_ident, m_driver, m_dip, m_instance, m_src_addr, m_dst_addr, m_callbacks,
        m_min_sdu, m_max_sdu, m_pdata, m_pdata_size, m_priv_props, m_margin, m_v12n,
        m_multicast_sdu);
    hold!(layout, "mac_callbacks_t", sys::mac_provider::mac_callbacks_t:
        mc_callbacks, mc_getstat, mc_start, mc_stop, mc_setpromisc, mc_multicst, mc_unicst, mc_tx,
        mc_reserved, mc_ioctl, mc_getcapab, mc_open, mc_close, mc_setprop, mc_getprop, mc_propinfo);
    hold!(layout, "mac_capab_lso_t", sys::mac_offload::mac_capab_lso_t:
        lso_flags, lso_basic_tcp_ipv4, lso_basic_tcp_ipv6);
    hold!(layout, "lso_basic_tcp_ipv4_t", sys::mac_offload::lso_basic_tcp_ipv4_t: lso_max);
    hold!(layout, "lso_basic_tcp_ipv6_t", sys::mac_offload::lso_basic_tcp_ipv6_t: lso_max);
    hold!(layout, "mac_ether_offload_info_t", sys::mac_offload::mac_ether_offload_info_t:
        meoi_flags, meoi_len, meoi_l2hlen, meoi_l3proto, meoi_l3hlen, meoi_l4proto, meoi_l4hlen);
    hold!(layout, "mac_header_info_t", sys::mac::mac_header_info_t:
        mhi_hdrsize, mhi_pktsize, mhi_daddr, mhi_saddr, mhi_origsap, mhi_bindsap, mhi_dsttype,
        mhi_tci, mhi_istagged, mhi_ispvid);
    hold!(layout, "mac_info_t", sys::mac::mac_info_t:
        mi_media, mi_nativemedia, mi_addr_length, mi_unicst_addr, mi_brdcst_addr);
    hold!(layout, "ether_header", sys::ethernet::ether_header:
        ether_dhost, ether_shost, ether_type);
    hold!(layout, "ether_vlan_header", sys::vlan::ether_vlan_header:
        ether_dhost, ether_shost, ether_tpid, ether_tci, ether_type);
}

fn data_links(layout: &mut Layout) {
    hold!(layout, "dld_ioc_info_t", sys::dld_ioc::dld_ioc_info_t:
        di_cmd, di_flags, di_argsize, di_func, di_priv_func);
    hold!(layout, "dls_link_t", sys::dls_impl::dls_link_t:
        dl_name, dl_ddi_instance, dl_mh, dl_mch, dl_mah, dl_mnh, dl_mip, dl_ref, dl_str_hash,
        dl_impl_count, dl_nactive, dl_unknowns, dl_zid, dl_zone_ref, dl_tagmode, dl_nonip_cnt);
    hold!(layout, "dld_str_t", sys::dld_impl::dld_str_t:
        ds_major, ds_minor, ds_ppa, ds_rq, ds_wq, ds_type, ds_dlstate, ds_style, ds_sap, ds_mh,
        ds_mch, ds_promisc, ds_mph, ds_vlan_mph, ds_mip, ds_pri, ds_mnh, ds_notifications,
        ds_mode, ds_native, ds_polling, ds_direct, ds_lso, ds_lso_max, ds_passivestate,
        ds_tx_flow_mp, ds_lock, ds_rw_lock, ds_datathr_cv, ds_datathr_cnt, ds_pending_head,
        ds_pending_tail, ds_dlpi_pending_cv, ds_dlp, ds_dmap, ds_rx, ds_rx_arg, ds_nactive,
        ds_next, ds_head, ds_ddh, ds_tqlist, ds_private, ds_lowlink, ds_nonip);
}

fn routes(layout: &mut Layout) {
    hold!(layout, "ire_t", inet::ip::ire_t:
        ire_next, ire_ptpn, ire_refcnt, ire_ill, ire_identical_ref, ire_ipversion, ire_type,
        ire_generation, ire_ib_pkt_count, ire_ob_pkt_count, ire_create_time, ire_flags,
        ire_testhidden, ire_recvfn, ire_sendfn, ire_postfragfn, ire_masklen, ire_u, ire_bucket,
        ire_lock, ire_last_used_time, ire_gw_secattr, ire_zoneid, ire_nce_cache, ire_nce_capable,
        ire_dep_parent, ire_dep_children, ire_dep_sib_next, ire_dep_sib_ptpn,
        ire_dep_parent_generation, ire_badcnt, ire_last_badcnt, ire_defense_count,
        ire_defense_time, ire_trace_disable, ire_ipst, ire_metrics, ire_unbound);
    hold!(layout, "ill_t", inet::ip_ill::ill_t:
        ill_inputfn, ill_ifptr, ill_rq, ill_wq, ill_error, ill_ipif, ill_ipif_up_count,
        ill_max_frag, ill_current_frag, ill_mtu, ill_mc_mtu, ill_metric, ill_name,
        ill_ipif_dup_count, ill_name_length, ill_net_type, ill_ppa, ill_sap, ill_sap_length,
        ill_phys_addr_length, ill_bcast_addr_length, ill_mactype, ill_frag_ptr, ill_frag_timer_id,
        ill_frag_hash_tbl, ill_mcast_lock, ill_mcast_serializer, ill_ilm, ill_global_timer,
        ill_mcast_type, ill_mcast_v1_time, ill_mcast_v2_time, ill_mcast_v1_tset,
        ill_mcast_v2_tset, ill_mcast_rv, ill_mcast_qi, ill_bcast_mp, ill_unbind_mp,
        ill_promiscoff_mp, ill_dlpi_deferred, ill_dest_addr_mp, ill_replumb_mp, ill_phys_addr_mp,
        ill_mcast_deferred, ill_credp, ill_phys_addr, ill_dest_addr, ill_state_flags);
    hold!(layout, "nce_t", inet::ip_ndp::nce_t:
        nce_node, nce_ill, nce_is_condemned, nce_addr, nce_dlur_mp, nce_fp_mp, nce_common,
        nce_lock, nce_refcnt, nce_ipif_cnt);
    hold!(layout, "ncec_t", inet::ip_ndp::ncec_t:
        ncec_next, ncec_ptpn, ncec_ill, ncec_flags, ncec_state, ncec_pcnt, ncec_rcnt, ncec_addr,
        ncec_lladdr, ncec_qd_mp, ncec_last, ncec_refcnt, ncec_lock, ncec_unsolicit_count,
        ncec_timeout_id, ncec_ipversion, ncec_defense_count, ncec_last_time_defended,
        ncec_init_time, ncec_trace_disable, ncec_xmit_interval, ncec_ipst, ncec_cb,
        ncec_cb_walker_cnt, ncec_nprobes, ncec_lladdr_length);
}

fn oxide_tree(layout: &mut Layout) {
    hold!(layout, "dblk_t@oxide", oxide::stream::dblk_t:
        base, db_meoi, db_meoi.valid, db_meoi.pktinfo);
    hold!(layout, "packed_meoi_t@oxide", oxide::stream::packed_meoi_t:
        t_l3hlen, p_l3hlen, t_l3proto, p_l3proto, t_tunhlen, p_l4proto);
    hold!(layout, "mac_ether_offload_info_t@oxide", oxide::mac_provider::mac_ether_offload_info_t:
        meoi_flags, meoi_tuntype, meoi_len, meoi_l2hlen, meoi_l3proto, meoi_l3hlen, meoi_l4proto,
        meoi_l4hlen, meoi_tunhlen);
    hold!(layout, "cso_tunnel_t@oxide", oxide::mac_provider::cso_tunnel_t:
        ct_flags, ct_encap_max, ct_types);
    hold!(layout, "mac_capab_cso_t@oxide", oxide::mac_provider::mac_capab_cso_t:
        cso_flags, cso_tunnel);
    hold!(layout, "lso_tunnel_tcp_t@oxide", oxide::mac_provider::lso_tunnel_tcp_t:
        tun_pay_max, tun_encap_max, tun_flags, tun_types, tun_pad);
    hold!(layout, "mac_capab_lso_t@oxide", oxide::mac_provider::mac_capab_lso_t:
        lso_flags, lso_basic_tcp_ipv4, lso_basic_tcp_ipv6, lso_tunnel_tcp);
}

fn types(layout: &mut Layout) {
    size!(layout, "int", core::ffi::c_int);
    size!(layout, "long", core::ffi::c_long);
    size!(layout, "size_t", sys::types::size_t);
    size!(layout, "dev_t", sys::types::dev_t);
    size!(layout, "major_t", sys::types::major_t);
    size!(layout, "minor_t", sys::types::minor_t);
    size!(layout, "uid_t", sys::types::uid_t);
    size!(layout, "pid_t", sys::types::pid_t);
    size!(layout, "zoneid_t", sys::types::zoneid_t);
    size!(layout, "clock_t", sys::types::clock_t);
    size!(layout, "hrtime_t", sys::types::hrtime_t);
    size!(layout, "time_t", sys::types::time_t);
    size!(layout, "datalink_id_t", sys::types::datalink_id_t);
    size!(layout, "boolean_t", sys::types::boolean_t);
    size!(layout, "link_state_t", sys::mac::link_state_t);
    size!(layout, "mac_capab_t", sys::mac_offload::mac_capab_t);
    size!(layout, "mac_prop_id_t", sys::mac::mac_prop_id_t);
    size!(layout, "mac_tx_cookie_t", sys::mac_client::mac_tx_cookie_t);
    size!(layout, "mac_perim_handle_t", sys::mac_client::mac_perim_handle_t);
    size!(layout, "krw_type_t", sys::rwlock::krw_type_t);
    size!(layout, "kmutex_type_t", sys::mutex::kmutex_type_t);
    size!(layout, "ddi_attach_cmd_t", sys::dditypes::ddi_attach_cmd_t);
    size!(layout, "kid_t", sys::kstat::kid_t);
    size!(layout, "t_uscalar_t", sys::types::t_uscalar_t);
    size!(layout, "ddi_periodic_t", sys::dditypes::ddi_periodic_t);
    size!(layout, "kthread_t *", *mut sys::thread::kthread_t);
}

/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Written by 'cargo xtask dtrace' from opte/src/event.rs.
*/

#pragma D depends_on module xde

/* A flow key. IPv4 addresses are IPv4-mapped. For ICMP, src_port is type and code, dst_port the
 * identifier of an echo. */
struct opte_key_shown {
	uint8_t src[16];
	uint8_t dst[16];
	uint16_t src_port;
	uint16_t dst_port;
	uint8_t protocol;
	uint8_t family;
};

/* dropped: A packet was dropped */
struct opte_dropped {
	uint32_t port;
	uint8_t direction;
	uint8_t reason;
	struct opte_key_shown key;
};

/* rule-matched: A rule, or a layer's default, decided about a packet that ran no stored transform */
struct opte_rule_matched {
	uint64_t rule;
	uint32_t port;
	uint8_t direction;
	uint8_t layer;
	struct opte_key_shown key;
};

/* stamped: A layer stamped something into the metadata of a packet that ran no stored transform */
struct opte_stamped {
	uint32_t port;
	uint8_t direction;
	uint8_t slot;
	uint8_t value[16];
	struct opte_key_shown key;
};

/* flow-opened: A connection was entered in the flow table */
struct opte_flow_opened {
	uint64_t rule;
	uint32_t port;
	uint8_t direction;
	struct opte_key_shown key;
	struct opte_key_shown back;
};

/* flow-ended: A connection left the flow table */
struct opte_flow_ended {
	uint32_t port;
	uint8_t end;
	uint8_t reason;
	struct opte_key_shown key;
	struct opte_key_shown back;
};

/* exhausted: There was no external port for a new connection. At most one is told in each second of a port */
struct opte_exhausted {
	uint32_t port;
	uint8_t reason;
	struct opte_key_shown key;
};

/* tcp-state: A TCP connection changed its state */
struct opte_tcp_changed {
	uint32_t port;
	uint8_t direction;
	uint8_t from;
	uint8_t to;
	uint8_t flags;
	struct opte_key_shown key;
};

/* next-hop: It was decided where in the underlay packets of a flow go */
struct opte_next_hop {
	uint32_t port;
	uint32_t vni;
	uint8_t outer_dst[16];
	struct opte_key_shown key;
};

/* published: A policy came into force */
struct opte_published {
	uint64_t generation;
	uint32_t port;
};

/* decide-begin: A packet begins to be decided: it ran no stored transform */
struct opte_decide_begun {
	uint32_t port;
	uint8_t direction;
};

/* decide-end: It was decided */
struct opte_decide_ended {
	uint32_t port;
	uint8_t direction;
};

/* batch-begin: A batch of frames begins to be processed */
struct opte_batch_begun {
	uint32_t frames;
	uint32_t port;
};

/* batch-end: It was processed */
struct opte_batch_ended {
	uint32_t frames;
	uint32_t port;
};

/* control-begin: A request begins to be served */
struct opte_control_begun {
	uint16_t code;
};

/* control-end: It was served */
struct opte_control_ended {
	uint16_t code;
	uint8_t served;
};

inline string opte_direction[uint32_t number] =
	number == 0 ? "out" :
	number == 1 ? "in" :
	"?";

inline string opte_layer[uint32_t number] =
	number == 0 ? "gateway" :
	number == 1 ? "firewall" :
	number == 2 ? "router" :
	number == 3 ? "nat" :
	number == 4 ? "overlay" :
	"?";

inline string opte_drop_reason[uint32_t number] =
	number == 0 ? "truncated" :
	number == 1 ? "ethertype" :
	number == 2 ? "ip_version" :
	number == 3 ? "ip_length" :
	number == 4 ? "fragment" :
	number == 5 ? "fragment_malformed" :
	number == 6 ? "fragment_overlap" :
	number == 7 ? "fragment_limit" :
	number == 8 ? "extension_headers" :
	number == 9 ? "protocol" :
	number == 10 ? "transport_length" :
	number == 11 ? "tcp_flags" :
	number == 12 ? "tcp_mid_stream" :
	number == 13 ? "not_geneve" :
	number == 14 ? "geneve_header" :
	number == 15 ? "geneve_options" :
	number == 16 ? "geneve_critical" :
	number == 17 ? "congestion" :
	number == 18 ? "no_port" :
	number == 19 ? "outer_source" :
	number == 20 ? "port_state" :
	number == 21 ? "spoofed" :
	number == 22 ? "not_for_guest" :
	number == 23 ? "gateway_deny" :
	number == 24 ? "firewall_rule" :
	number == 25 ? "firewall_reject" :
	number == 26 ? "firewall_default" :
	number == 27 ? "no_route" :
	number == 28 ? "route_drop" :
	number == 29 ? "route_blackhole" :
	number == 30 ? "no_external_address" :
	number == 31 ? "nat_protocol" :
	number == 32 ? "nat_exhausted" :
	number == 33 ? "nat_limit" :
	number == 34 ? "nat_unmapped" :
	number == 35 ? "nat_rate" :
	number == 36 ? "icmp_checksum" :
	number == 37 ? "quote_checksum" :
	number == 38 ? "icmp_unrelated" :
	number == 39 ? "nat_filtered" :
	number == 40 ? "no_mapping" :
	number == 41 ? "no_boundary" :
	number == 42 ? "translated_inside" :
	number == 43 ? "untranslated_outside" :
	number == 44 ? "external_inside" :
	number == 45 ? "hop_limit" :
	number == 46 ? "too_big_inside" :
	number == 47 ? "too_big_outside" :
	number == 48 ? "multicast" :
	number == 49 ? "no_group" :
	number == 50 ? "no_listener" :
	number == 51 ? "multicast_vni" :
	number == 52 ? "connection_cut" :
	number == 53 ? "flow_conflict" :
	number == 54 ? "flow_table_full" :
	"?";

inline string opte_flow_end[uint32_t number] =
	number == 0 ? "flows_expired" :
	number == 1 ? "flows_evicted" :
	number == 2 ? "flows_cut" :
	number == 3 ? "flows_replaced" :
	number == 4 ? "flows_cleared" :
	"?";

inline string opte_cut_reason[uint32_t number] =
	number == 0 ? "address_gone" :
	number == 1 ? "pool_shrunk" :
	number == 2 ? "pool_moved" :
	number == 3 ? "gateway_changed" :
	number == 4 ? "translated_otherwise" :
	number == 5 ? "forward_removed" :
	number == 6 ? "drain_over" :
	number == 7 ? "rule_denies" :
	number == 8 ? "route_changed" :
	number == 9 ? "peer_gone" :
	number == 10 ? "port_changed" :
	number == 11 ? "port_gone" :
	number == 255 ? "-" :
	"?";

inline string opte_tcp_state[uint32_t number] =
	number == 0 ? "CLOSED" :
	number == 1 ? "LISTEN" :
	number == 2 ? "SYN_SENT" :
	number == 3 ? "SYN_RECEIVED" :
	number == 4 ? "ESTABLISHED" :
	number == 5 ? "CLOSE_WAIT" :
	number == 6 ? "LAST_ACK" :
	number == 7 ? "FIN_WAIT_1" :
	number == 8 ? "FIN_WAIT_2" :
	number == 9 ? "CLOSING" :
	number == 10 ? "TIME_WAIT" :
	"?";

inline string opte_slot[uint32_t number] =
	number == 0 ? "peer_vni" :
	number == 1 ? "target" :
	number == 2 ? "gateway" :
	number == 3 ? "target_ip" :
	number == 6 ? "external_source" :
	"?";

inline string opte_command[uint32_t number] =
	number == 1 ? "ListPorts" :
	number == 2 ? "CreatePort" :
	number == 3 ? "DeletePort" :
	number == 4 ? "SetUnderlay" :
	number == 5 ? "ClearUnderlay" :
	number == 6 ? "ShowUnderlay" :
	number == 10 ? "ListLayers" :
	number == 11 ? "DumpLayer" :
	number == 12 ? "DumpUft" :
	number == 13 ? "ClearUft" :
	number == 14 ? "DumpTcpFlows" :
	number == 15 ? "DumpCounters" :
	number == 20 ? "AddFwRule" :
	number == 21 ? "RemFwRule" :
	number == 22 ? "SetFwRules" :
	number == 30 ? "AddRoute" :
	number == 31 ? "DelRoute" :
	number == 40 ? "SetV2p" :
	number == 41 ? "ClearV2p" :
	number == 42 ? "DumpV2p" :
	number == 43 ? "SetV2b" :
	number == 44 ? "ClearV2b" :
	number == 45 ? "DumpV2b" :
	number == 50 ? "SetExternalIps" :
	number == 70 ? "DumpNatPools" :
	number == 71 ? "DumpNatLeases" :
	number == 60 ? "AddBoundaryNat" :
	number == 61 ? "RemBoundaryNat" :
	number == 62 ? "ListBoundaryNat" :
	number == 90 ? "Plan" :
	number == 91 ? "Apply" :
	number == 92 ? "Drain" :
	number == 100 ? "SetPortSettings" :
	number == 101 ? "ShowPortSettings" :
	number == 102 ? "SetMtu" :
	number == 103 ? "SetDhcp" :
	number == 104 ? "SetUnderlayAddress" :
	number == 105 ? "StartPort" :
	number == 106 ? "PausePort" :
	number == 107 ? "ResetPort" :
	number == 110 ? "SavePort" :
	number == 111 ? "StageRestore" :
	number == 112 ? "RestorePort" :
	number == 120 ? "AttachSubnet" :
	number == 121 ? "DetachSubnet" :
	number == 122 ? "AllowCidr" :
	number == 123 ? "RemoveCidr" :
	number == 124 ? "ListPrefixes" :
	number == 140 ? "AddWeightedRoute" :
	number == 141 ? "ListRoutes" :
	number == 142 ? "SetRouting" :
	number == 143 ? "DumpGateways" :
	number == 150 ? "SetM2p" :
	number == 151 ? "ClearM2p" :
	number == 152 ? "DumpM2p" :
	number == 153 ? "SetMulticastForwarding" :
	number == 154 ? "ClearMulticastForwarding" :
	number == 155 ? "DumpMulticastForwarding" :
	number == 156 ? "MulticastSubscribe" :
	number == 157 ? "MulticastUnsubscribe" :
	number == 158 ? "MulticastUnsubscribeAll" :
	number == 159 ? "DumpMulticastSubscriptions" :
	number == 170 ? "TracePacket" :
	number == 171 ? "KillFlows" :
	number == 172 ? "ClearLft" :
	"?";

/**
 * Berth's rtnetlink protocol number (rtm_protocol, FRA_PROTOCOL, NDA_PROTOCOL, IFA_PROTO): what carries it was made by
 * Berth. The kernel leaves 4–255 to user space (include/uapi/linux/rtnetlink.h); 98 is nobody's in iproute2's rt_protos.
 */
export const RTPROT_BERTH = 98;

/** The link group (IFLA_GROUP, `ip link show group`) of every link that Berth makes: "BERT" in ASCII. */
export const LINK_GROUP_BERTH = 0x42455254;

/** Source routing's tables begin here: far from the numbers that people choose. */
export const SOURCE_ROUTING_TABLES = 98_000_000;

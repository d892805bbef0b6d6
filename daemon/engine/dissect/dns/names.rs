//! Names of the numbers in DNS messages (IANA DNS parameters).

use compact_str::{CompactString, format_compact};

/// Record types that have a name.
const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// Response codes: number, mnemonic, what Kubeshark writes.
const CODES: &[(u16, &str, &str)] = &[
    (0, "NOERROR", "No Error"),
    (1, "FORMERR", "Format Error"),
    (2, "SERVFAIL", "Server Failure"),
    (3, "NXDOMAIN", "Non-Existent Domain"),
    (4, "NOTIMP", "Not Implemented"),
    (5, "REFUSED", "Query Refused"),
    (6, "YXDOMAIN", "Name Exists when it should not"),
    (7, "YXRRSET", "RR Set Exists when it should not"),
    (8, "NXRRSET", "RR Set that should exist does not"),
    (9, "NOTAUTH", "Server Not Authoritative for zone"),
    (10, "NOTZONE", "Name not contained in zone"),
    (16, "BADVERS", "Bad OPT Version"),
    (17, "BADKEY", "Key not recognized"),
    (18, "BADTIME", "Signature out of time window"),
    (19, "BADMODE", "Bad TKEY Mode"),
    (20, "BADNAME", "Duplicate key name"),
    (21, "BADALG", "Algorithm not supported"),
    (22, "BADTRUNC", "Bad Truncation"),
    (23, "BADCOOKIE", "Bad Cookie"),
];

/// Extended errors (RFC 8914).
const EXTENDED: &[&str] = &[
    "Other",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
];

/// Whether a record type has a name.
pub(super) fn is_known_type(kind: u16) -> bool {
    TYPES.iter().any(|(number, _)| *number == kind)
}

/// `A`, or `TYPE1234` (RFC 3597 5).
pub(super) fn type_name(kind: u16) -> CompactString {
    match TYPES.iter().find(|(number, _)| *number == kind) {
        Some((_, name)) => CompactString::const_new(name),
        None => format_compact!("TYPE{kind}"),
    }
}

/// `IN`, or `CLASS1234`.
pub(super) fn class_name(class: u16) -> CompactString {
    CompactString::const_new(match class {
        1 => "IN",
        3 => "CH",
        4 => "HS",
        254 => "NONE",
        255 => "ANY",
        other => return format_compact!("CLASS{other}"),
    })
}

/// Operation.
pub(super) fn opcode_name(opcode: u8) -> CompactString {
    CompactString::const_new(match opcode {
        0 => "Query",
        1 => "Inverse Query",
        2 => "Status",
        4 => "Notify",
        5 => "Update",
        6 => "Stateful",
        other => return format_compact!("Opcode {other}"),
    })
}

/// Mnemonic and description of a response code.
pub(super) fn code_names(code: u16) -> (CompactString, CompactString) {
    match CODES.iter().find(|(number, ..)| *number == code) {
        Some((_, short, long)) => (CompactString::const_new(short), CompactString::const_new(long)),
        None => (format_compact!("RCODE{code}"), format_compact!("Code {code}")),
    }
}

/// Meaning of an extended error.
pub(super) fn extended_name(code: u16) -> &'static str {
    EXTENDED.get(usize::from(code)).copied().unwrap_or("Unassigned")
}

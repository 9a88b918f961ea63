//! What of a mediated row passes the filter: conditions on single arguments. Each lists what is harmless on a
//! granted descriptor or touches no name; everything else, junk in an upper half included, is mediated.

use super::row::{ArgIs, Passes};

const ALL: u32 = u32::MAX;

/// fcntl: reading flags, status flags, locks, owners, seals. Not what makes or marks descriptors.
pub const FCNTL: Passes = &[&[ArgIs {
    arg: 1,
    mask: ALL,
    values: &[
        1,    // F_GETFD
        3,    // F_GETFL
        4,    // F_SETFL
        5,    // F_GETLK
        6,    // F_SETLK
        7,    // F_SETLKW
        8,    // F_SETOWN
        9,    // F_GETOWN
        10,   // F_SETSIG
        11,   // F_GETSIG
        15,   // F_SETOWN_EX
        16,   // F_GETOWN_EX
        36,   // F_OFD_GETLK
        37,   // F_OFD_SETLK
        38,   // F_OFD_SETLKW
        1031, // F_SETPIPE_SZ
        1032, // F_GETPIPE_SZ
        1033, // F_ADD_SEALS
        1034, // F_GET_SEALS
    ],
}]];

/// ioctl: terminal attributes, flow control, process groups, window sizes, bytes to read, O_NONBLOCK.
pub const IOCTL: Passes = &[&[ArgIs {
    arg: 1,
    mask: ALL,
    values: &[
        0x5401,      // TCGETS
        0x5402,      // TCSETS
        0x5403,      // TCSETSW
        0x5404,      // TCSETSF
        0x5409,      // TCSBRK
        0x540a,      // TCXONC
        0x540b,      // TCFLSH
        0x540f,      // TIOCGPGRP
        0x5410,      // TIOCSPGRP
        0x5411,      // TIOCOUTQ
        0x5413,      // TIOCGWINSZ
        0x5414,      // TIOCSWINSZ
        0x541b,      // FIONREAD
        0x5421,      // FIONBIO
        0x5429,      // TIOCGSID
        0x802c_542a, // TCGETS2
        0x402c_542b, // TCSETS2
        0x402c_542c, // TCSETSW2
        0x402c_542d, // TCSETSF2
    ],
}]];

/// sendto without an address.
pub const NO_ADDRESS: Passes = &[&[ArgIs {
    arg: 4,
    mask: ALL,
    values: &[0],
}]];

/// prlimit64 that only reads.
pub const PRLIMIT_READ: Passes = &[&[ArgIs {
    arg: 2,
    mask: ALL,
    values: &[0],
}]];

/// getsockopt below the socket level, and at it what tells nothing of the peer and makes no descriptor.
pub const GETSOCKOPT: Passes = &[
    // IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, SOL_NETLINK
    &[ArgIs {
        arg: 1,
        mask: ALL,
        values: &[0, 6, 17, 41, 270],
    }],
    &[
        ArgIs {
            arg: 1,
            mask: ALL,
            values: &[1],
        },
        // SO_REUSEADDR SO_TYPE SO_DONTROUTE SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE SO_OOBINLINE
        // SO_PRIORITY SO_LINGER SO_REUSEPORT SO_PASSCRED SO_RCVLOWAT SO_SNDLOWAT SO_RCVTIMEO SO_SNDTIMEO
        // SO_TIMESTAMP SO_ACCEPTCONN SO_PROTOCOL SO_DOMAIN
        ArgIs {
            arg: 2,
            mask: ALL,
            values: &[
                2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 18, 19, 20, 21, 29, 30, 38, 39,
            ],
        },
    ],
];

/// arch_prctl: all that Linux has but ARCH_GET_GS, which a platform may have to answer.
pub const ARCH_PRCTL: Passes = &[&[ArgIs {
    arg: 0,
    mask: ALL,
    values: &[
        0x1001, // ARCH_SET_GS
        0x1002, // ARCH_SET_FS
        0x1003, // ARCH_GET_FS
        0x1011, // ARCH_GET_CPUID
        0x1012, // ARCH_SET_CPUID
        0x1021, // ARCH_GET_XCOMP_SUPP
        0x1022, // ARCH_GET_XCOMP_PERM
        0x1023, // ARCH_REQ_XCOMP_PERM
        0x1024, // ARCH_GET_XCOMP_GUEST_PERM
        0x1025, // ARCH_REQ_XCOMP_GUEST_PERM
        0x4001, // ARCH_GET_UNTAG_MASK
        0x4002, // ARCH_ENABLE_TAGGED_ADDR
        0x4003, // ARCH_GET_MAX_TAG_BITS
        0x5001, // ARCH_SHSTK_ENABLE
        0x5002, // ARCH_SHSTK_DISABLE
        0x5003, // ARCH_SHSTK_LOCK
        0x5005, // ARCH_SHSTK_STATUS
    ],
}]];

/// prctl: names, death signals, reaping, timer slack, speculation: the caller's own, and harmless.
pub const PRCTL: Passes = &[&[ArgIs {
    arg: 0,
    mask: ALL,
    values: &[
        1,           // PR_SET_PDEATHSIG
        2,           // PR_GET_PDEATHSIG
        7,           // PR_GET_KEEPCAPS
        13,          // PR_GET_TIMING
        15,          // PR_SET_NAME
        16,          // PR_GET_NAME
        23,          // PR_CAPBSET_READ
        25,          // PR_GET_TSC
        27,          // PR_GET_SECUREBITS
        29,          // PR_SET_TIMERSLACK
        30,          // PR_GET_TIMERSLACK
        36,          // PR_SET_CHILD_SUBREAPER
        37,          // PR_GET_CHILD_SUBREAPER
        38,          // PR_SET_NO_NEW_PRIVS
        39,          // PR_GET_NO_NEW_PRIVS
        40,          // PR_GET_TID_ADDRESS
        41,          // PR_SET_THP_DISABLE
        42,          // PR_GET_THP_DISABLE
        0x5356_4d41, // PR_SET_VMA
    ],
}]];

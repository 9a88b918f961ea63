//! The values of flags that measure something: bytes, times, CPUs, limits of a process.

use std::time::Duration;

use super::values::Parsed;
use crate::run::options::Rlimit;

/// Limits of getrlimit(2): name, number, and whether it counts bytes.
const RLIMITS: [(&str, u32, bool); 16] = [
    ("cpu", libc::RLIMIT_CPU, false),
    ("fsize", libc::RLIMIT_FSIZE, true),
    ("data", libc::RLIMIT_DATA, true),
    ("stack", libc::RLIMIT_STACK, true),
    ("core", libc::RLIMIT_CORE, true),
    ("rss", libc::RLIMIT_RSS, true),
    ("nproc", libc::RLIMIT_NPROC, false),
    ("nofile", libc::RLIMIT_NOFILE, false),
    ("memlock", libc::RLIMIT_MEMLOCK, true),
    ("as", libc::RLIMIT_AS, true),
    ("locks", libc::RLIMIT_LOCKS, false),
    ("sigpending", libc::RLIMIT_SIGPENDING, false),
    ("msgqueue", libc::RLIMIT_MSGQUEUE, true),
    ("nice", libc::RLIMIT_NICE, false),
    ("rtprio", libc::RLIMIT_RTPRIO, false),
    ("rttime", libc::RLIMIT_RTTIME, false),
];

/// A number of bytes: `4096`, `64K`, `10m`, `1G`, `2T`; powers of 1024.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (digits, shift) = match lower.char_indices().next_back() {
        Some((at, unit)) if !unit.is_ascii_digit() => {
            let shift = match unit {
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                _ => return Err(format!("{text:?} is no size: a number and K, M, G or T")),
            };
            (lower.get(..at).unwrap_or_default(), shift)
        }
        _ => (lower, 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size: a number and K, M, G or T"))
}

/// A time: `10`, `1.5s`, `500ms`, `2m`, `1h`, `1d`; seconds where no unit is said.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    let at = text
        .find(|byte: char| !byte.is_ascii_digit() && byte != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => 0.0,
    };
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * factor)
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text:?} is no time: a number above 0 and ms, s, m, h or d"))
}

/// A number of CPUs, in thousandths.
pub(super) fn cpus(text: &str) -> Parsed<u32> {
    text.parse::<f64>()
        .ok()
        .filter(|cpus| (0.01..=10_000.0).contains(cpus))
        .map(|cpus| (cpus * 1000.0) as u32)
        .ok_or_else(|| format!("{text:?} is no number of CPUs: 0.5, 2, …"))
}

/// `NAME=SOFT[:HARD]`.
pub(super) fn rlimit(text: &str) -> Parsed<Rlimit> {
    let shape = "NAME=SOFT[:HARD], as in nofile=64 or as=1G:2G";
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| format!("it has no value: {shape}"))?;
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let &(name, resource, bytes) = RLIMITS
        .iter()
        .find(|(known, _, _)| *known == lower)
        .ok_or_else(|| {
            let names: Vec<&str> = RLIMITS.iter().map(|(name, _, _)| *name).collect();
            format!("{name:?} is no limit: {}", names.join(" "))
        })?;
    let value = |text: &str| match text {
        "unlimited" | "infinity" | "-1" => Ok(u64::MAX),
        "0" => Ok(0),
        text if bytes => size(text),
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is no number: {shape}")),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    if soft > hard {
        return Err(format!("the soft limit is above the hard one: {shape}"));
    }
    Ok(Rlimit {
        name,
        resource,
        soft,
        hard,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(size("10m"), Ok(10 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert!(size("0").is_err() && size("-1").is_err() && size("9999999999T").is_err());
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("0").is_err() && duration("5x").is_err() && duration("").is_err());
        assert_eq!(cpus("0.5"), Ok(500));
        assert!(cpus("0").is_err() && cpus("nan").is_err());
    }

    #[test]
    fn limits_are_those_of_the_man_page() {
        let limit = rlimit("nofile=64:128").unwrap();
        assert_eq!((limit.name, limit.soft, limit.hard), ("nofile", 64, 128));
        assert_eq!(rlimit("as=1G").unwrap().hard, 1 << 30);
        assert_eq!(rlimit("core=unlimited").unwrap().soft, u64::MAX);
        for bad in ["nofile", "x=1", "nofile=a", "nofile=9:8"] {
            assert!(rlimit(bad).is_err(), "{bad}");
        }
    }
}

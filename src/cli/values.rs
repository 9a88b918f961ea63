//! The values of flags: each text becomes plain data, or says how it was read and what is wrong with it. Nothing is
//! looked at but the text.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::quantities::size;
use crate::run::options::{Bind, EnvironmentChange, IdRange, Mount, Publish, Symlink};

/// File systems that a `--mount` may name, and the pseudo-kind `bind`.
const FILESYSTEMS: [&str; 14] = [
    "bind", "tmpfs", "proc", "devpts", "mqueue", "overlay", "sysfs", "ramfs", "ext4", "xfs",
    "btrfs", "vfat", "squashfs", "iso9660",
];

/// The names of capabilities(7), by number.
pub(super) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

pub(super) type Parsed<T> = Result<T, String>;

/// Splits at the colons that no backslash precedes; `\:` is a colon of the text, any other backslash itself.
fn fields(text: &OsStr) -> Vec<OsString> {
    let mut fields = vec![Vec::new()];
    let mut bytes = text.as_bytes().iter().peekable();
    while let Some(&byte) = bytes.next() {
        let escaped = byte == b'\\' && bytes.peek() == Some(&&b':');
        if byte == b':' {
            fields.push(Vec::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(if escaped { b':' } else { byte });
        }
        if escaped {
            bytes.next();
        }
    }
    fields.into_iter().map(OsString::from_vec).collect()
}

fn absolute(what: &str, path: &OsStr) -> Parsed<PathBuf> {
    if path.as_bytes().first() == Some(&b'/') {
        Ok(path.into())
    } else {
        Err(format!(
            "{what} {path:?} is no absolute path: it names a place inside, so begin it with /"
        ))
    }
}

/// `SRC[:DEST[:OPTS]]`.
pub(super) fn bind(text: OsString, writable: bool) -> Parsed<Bind> {
    let fields = fields(&text);
    let (source, target, options) = match fields.as_slice() {
        [source] => (source, None, None),
        [source, options] if is_bind_options(options) => (source, None, Some(options)),
        [source, target] => (source, Some(target), None),
        [source, target, options] => (source, Some(target), Some(options)),
        _ => {
            return Err(
                "there are more than three fields: SRC:DEST:OPTS; write a colon of a path as \\:"
                    .to_owned(),
            );
        }
    };
    if source.is_empty() {
        return Err("the source is empty: SRC[:DEST[:OPTS]]".to_owned());
    }
    let target = match target {
        Some(target) if !target.is_empty() => Some(absolute("the destination", target)?),
        _ => None,
    };
    let mut bind = Bind {
        source: source.into(),
        target,
        writable,
        optional: false,
        noexec: false,
    };
    let options = options.map_or_else(Default::default, |options| options.to_string_lossy());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => bind.writable = false,
            "rw" => bind.writable = true,
            "try" => bind.optional = true,
            "noexec" => bind.noexec = true,
            other => {
                return Err(format!(
                    "the option {other:?} is not known: ro, rw, try, noexec"
                ));
            }
        }
    }
    Ok(bind)
}

fn is_bind_options(text: &OsStr) -> bool {
    let known = |option: &str| matches!(option, "ro" | "rw" | "try" | "noexec");
    text.to_str().is_some_and(|text| text.split(',').all(known))
}

/// `TYPE:DEVICE:DIR:OPTIONS`.
pub(super) fn mount(text: OsString) -> Parsed<Mount> {
    let fields = fields(&text);
    let shape = "TYPE:DEVICE:DIR[:OPTIONS], as in tmpfs:none:/tmp:size=10m";
    let (kind, device, target, options) = match fields.as_slice() {
        [kind, device, target] => (kind, device, target, None),
        [kind, device, target, options] => (kind, device, target, Some(options)),
        _ => return Err(format!("it has {} fields: {shape}", fields.len())),
    };
    let is_known = |name: &OsStr| FILESYSTEMS.iter().any(|known| name == *known);
    if !is_known(kind) && is_known(target) {
        return Err(format!(
            "the type stands third, as nsjail has it; here it stands first: {shape}"
        ));
    }
    let kind = kind
        .to_str()
        .filter(|kind| {
            !kind.is_empty()
                && kind
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        })
        .ok_or_else(|| format!("{kind:?} is no file system's name: {shape}"))?;
    let options = options
        .map_or_else(Default::default, |options| options.to_string_lossy())
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    Ok(Mount {
        kind: kind.to_owned(),
        device: device.clone(),
        target: absolute("the directory", target)?,
        options,
    })
}

/// `SIZE`, or `/DIR[:OPTIONS]`.
pub(super) fn tmpfs(text: OsString) -> Parsed<Mount> {
    let mount = |target: PathBuf, options: Vec<String>| Mount {
        kind: "tmpfs".to_owned(),
        device: "none".into(),
        target,
        options,
    };
    if text.as_bytes().first() == Some(&b'/') {
        let fields = fields(&text);
        return match fields.as_slice() {
            [target] => Ok(mount(target.into(), Vec::new())),
            [target, options] => Ok(mount(
                target.into(),
                options
                    .to_string_lossy()
                    .split(',')
                    .map(str::to_owned)
                    .collect(),
            )),
            _ => Err("more than two fields: /DIR[:size=SIZE]".to_owned()),
        };
    }
    let shown = text.to_string_lossy().into_owned();
    let bytes = size(&shown).map_err(|error| {
        format!("{error}; the limit of the tmpfs at /tmp, or /DIR[:size=SIZE] (strace's -t is not needed: a log always has times)")
    })?;
    Ok(mount("/tmp".into(), vec![format!("size={bytes}")]))
}

/// `TARGET:LINK`.
pub(super) fn symlink(text: OsString) -> Parsed<Symlink> {
    match fields(&text).as_slice() {
        [target, link] if !target.is_empty() => Ok(Symlink {
            text: target.into(),
            link: absolute("the link", link)?,
        }),
        _ => Err("two fields are needed: TARGET:LINK".to_owned()),
    }
}

/// `VAR[=VALUE]`.
pub(super) fn environment(text: OsString) -> Parsed<EnvironmentChange> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => (bytes.get(..at), bytes.get(at + 1..)),
        None => (Some(bytes), None),
    };
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err("the variable has no name: VAR or VAR=VALUE".to_owned());
    }
    let name = OsStr::from_bytes(name).to_owned();
    Ok(match value {
        Some(value) => EnvironmentChange::Set(name, OsStr::from_bytes(value).to_owned()),
        None => EnvironmentChange::Inherit(name),
    })
}

/// `-e`: the same, but what strace would take for a filter is not taken for a variable.
pub(super) fn short_environment(text: OsString) -> Parsed<EnvironmentChange> {
    const QUALIFIERS: [&str; 20] = [
        "trace",
        "t",
        "abbrev",
        "a",
        "verbose",
        "v",
        "raw",
        "x",
        "read",
        "write",
        "signal",
        "status",
        "fault",
        "inject",
        "quiet",
        "q",
        "kvm",
        "decode-fds",
        "trace-fds",
        "namespace",
    ];
    let shown = text.to_string_lossy();
    if let Some((name, _)) = shown.split_once('=')
        && QUALIFIERS.contains(&name)
    {
        return Err(format!(
            "{name}= is a filter of strace's, which -e does not take here; to set a variable of that name write --env"
        ));
    }
    environment(text)
}

/// `HOST:CAGE:COUNT`, or `cage=…,host=…,count=…`.
pub(super) fn id_range(text: &str) -> Parsed<IdRange> {
    let mut named = [None; 3];
    let parts: Vec<&str> = text.split([':', ',']).collect();
    let by_name = text.contains('=');
    for (position, part) in parts.iter().enumerate() {
        let (index, value) = match part.split_once('=') {
            Some(("host", value)) => (0, value),
            Some(("cage", value)) => (1, value),
            Some(("count", value)) => (2, value),
            None if !by_name => (position, *part),
            _ => return Err(format!("{part:?} is not host=, cage= or count=")),
        };
        match named.get_mut(index) {
            Some(slot) if slot.is_none() => *slot = Some(value),
            _ => return Err("there are more than three fields: HOST:CAGE:COUNT".to_owned()),
        }
    }
    let [host, cage, count] = named.map(|value| value.unwrap_or("missing"));
    let read = format!(
        "read as host {host}, cage {cage}, count {count}; the order is HOST:CAGE:COUNT, or write cage=…,host=…,count=…"
    );
    let number = |value: &str| value.parse::<u32>().map_err(|_| read.clone());
    let range = IdRange {
        host: number(host)?,
        cage: number(cage)?,
        count: number(count)?,
    };
    let fits = |first: u32| u64::from(first) + u64::from(range.count) <= u64::from(u32::MAX);
    if range.count == 0 || !fits(range.host) || !fits(range.cage) {
        return Err(format!("{read}; the range is empty or too long"));
    }
    Ok(range)
}

/// A capability, or `ALL`, as bits.
pub(super) fn capability(text: &str) -> Parsed<u64> {
    let name = text.to_ascii_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    if name == "all" {
        return Ok((1 << CAPABILITIES.len()) - 1);
    }
    CAPABILITIES
        .iter()
        .position(|known| *known == name)
        .map(|number| 1 << number)
        .ok_or_else(|| {
            "there is no such capability: a name of capabilities(7), with or without CAP_, or ALL"
                .to_owned()
        })
}

/// `[ADDRESS:]PORT:PORT`, outside first.
pub(super) fn publish(text: &str) -> Parsed<Publish> {
    let shape = "[ADDRESS:]HOST_PORT:CAGE_PORT, as in 8080:80 or 127.0.0.1:8080:80";
    let bad = || format!("it was not understood: {shape}");
    let (host, cage) = text.rsplit_once(':').ok_or_else(bad)?;
    let cage: u16 = cage.parse().map_err(|_| bad())?;
    let host = match host.parse::<u16>() {
        Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        Err(_) => host.parse().map_err(|_| bad())?,
    };
    if cage == 0 {
        return Err(format!("there is no port 0 inside: {shape}"));
    }
    Ok(Publish { host, cage })
}

/// A descriptor's number.
pub(super) fn descriptor(text: &str) -> Parsed<i32> {
    text.parse::<i32>()
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(|| format!("{text:?} is no descriptor's number"))
}

/// A host name as sethostname(2) takes it.
pub(super) fn hostname(text: &str) -> Parsed<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        return Err("a host name has 1 to 64 letters, digits, dots and dashes".to_owned());
    }
    Ok(text.to_owned())
}

/// An absolute path inside.
pub(super) fn place(text: OsString) -> Parsed<PathBuf> {
    absolute("the path", &text)
}

/// A pattern of absolute paths; `~/` is the caller's home.
pub(super) fn pattern(text: &str) -> Parsed<String> {
    if text.starts_with('/') || text.starts_with("~/") || text.starts_with("**/") {
        Ok(text.to_owned())
    } else {
        Err("a pattern begins with /, ~/ or **/".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_have_a_source_a_destination_and_options() {
        let plain = bind("/a".into(), true).unwrap();
        assert_eq!(
            (plain.source, plain.target, plain.writable),
            ("/a".into(), None, true)
        );
        let full = bind("x/y:/in:ro,try,noexec".into(), true).unwrap();
        assert_eq!(full.target, Some("/in".into()));
        assert!(!full.writable && full.optional && full.noexec);
        assert!(!bind("/a:ro".into(), true).unwrap().writable);
        assert_eq!(
            bind("/a\\:b".into(), true).unwrap().source,
            PathBuf::from("/a:b")
        );
        for bad in ["", ":/x", "/a:b", "/a:/b:zz", "/a:/b:ro:x"] {
            assert!(bind(bad.into(), true).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_are_read_in_the_seeds_order_and_nsjails_is_told() {
        let tmp = mount("tmpfs:none:/tmp:size=10m,mode=0700".into()).unwrap();
        assert_eq!(tmp.options, ["size=10m", "mode=0700"]);
        assert!(
            mount("none:/tmp:tmpfs:size=1".into())
                .unwrap_err()
                .contains("nsjail")
        );
        assert!(
            mount("tmpfs:none:tmp".into())
                .unwrap_err()
                .contains("absolute")
        );
        assert!(mount("tmpfs".into()).is_err());
        assert_eq!(tmpfs("64K".into()).unwrap().options, ["size=65536"]);
        assert_eq!(
            tmpfs("/d:size=1m".into()).unwrap().target,
            PathBuf::from("/d")
        );
        assert!(tmpfs("t".into()).unwrap_err().contains("strace"));
    }

    #[test]
    fn ranges_are_read_both_ways_and_errors_say_how() {
        let range = IdRange {
            host: 1000,
            cage: 0,
            count: 1,
        };
        assert_eq!(id_range("1000:0:1"), Ok(range));
        assert_eq!(id_range("cage=0,host=1000,count=1"), Ok(range));
        let error = id_range("a:b").unwrap_err();
        assert!(error.contains("host a, cage b, count missing"), "{error}");
        for bad in [
            "",
            "1:2:0",
            "1:2:3:4",
            "0:4294967295:2",
            "host=1,host=2,count=3",
        ] {
            assert!(id_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_those_of_the_man_pages() {
        assert_eq!(capability("CAP_NET_RAW"), Ok(1 << 13));
        assert_eq!(capability("checkpoint_restore"), Ok(1 << 40));
        assert!(capability("net").is_err());
    }

    #[test]
    fn published_ports_and_variables() {
        assert_eq!(
            publish("8080:80").unwrap().host.to_string(),
            "127.0.0.1:8080"
        );
        assert_eq!(publish("[::1]:1:2").unwrap().cage, 2);
        assert!(publish("80").is_err() && publish("a:b").is_err() && publish("1:0").is_err());
        assert_eq!(
            environment("A=b=c".into()),
            Ok(EnvironmentChange::Set("A".into(), "b=c".into()))
        );
        assert_eq!(
            environment("A".into()),
            Ok(EnvironmentChange::Inherit("A".into()))
        );
        assert!(environment("=b".into()).is_err());
        assert!(
            short_environment("trace=open".into())
                .unwrap_err()
                .contains("--env")
        );
    }
}

//! Who a run is inside: `-u`, `-g`, `--uid-map`, `--gid-map`, `--noroot` and the capabilities, decided before anything is
//! changed. Nothing is written here; `id_maps.rs` does that.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::BorrowedFd;

use nix::unistd::{Group, User, getegid, geteuid};

use super::launch::LaunchError;
use super::options::{CapabilityChange, IdRange, Identity};
use crate::posix::credentials::Credentials;
use crate::sys::privilege::{Capability, Privileges};
use crate::sys::procfs;

/// One past the last id: `(uid_t) -1` is none.
const END: u32 = u32::MAX;

/// User ids or group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// User ids.
    User,
    /// Group ids.
    Group,
}

impl Kind {
    /// As /proc spells it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::User => "uid",
            Self::Group => "gid",
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::User => "-u",
            Self::Group => "-g",
        }
    }

    const fn list(self) -> &'static str {
        match self {
            Self::User => "/etc/passwd",
            Self::Group => "/etc/group",
        }
    }
}

/// Who can write a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The supervisor itself: its own id, alone.
    Own,
    /// A child that stays outside, with root's capabilities.
    Root,
    /// newuidmap(1) or newgidmap(1), called by that child.
    Helper,
}

/// The ids of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) kind: Kind,
    /// The map, no two ranges of which meet on either side.
    pub(super) map: Vec<IdRange>,
    /// Who writes it.
    pub(super) writer: Writer,
    /// The id inside that the supervisor and the program must take, since they would not have it by the map alone.
    pub(super) becomes: Option<u32>,
}

impl Ids {
    /// The map as the kernel reads it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for range in &self.map {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {} {}", range.cage, range.host, range.count);
        }
        text
    }

    /// What an id of the host's is inside.
    fn inside_of(&self, host: u32) -> Option<u32> {
        self.map
            .iter()
            .find(|range| holds(range.host, range.count, host))
            .map(|range| range.cage + (host - range.host))
    }

    /// The ids inside, each first one with one past its last.
    pub(super) fn inside(&self) -> Vec<(u32, u32)> {
        let ends = |range: &IdRange| (range.cage, range.cage.saturating_add(range.count));
        self.map.iter().map(ends).collect()
    }
}

/// Who a run is.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) uids: Ids,
    pub(super) gids: Ids,
    /// The supplementary groups inside to take, where those of the caller cannot stay.
    pub(super) groups: Option<Vec<u32>>,
    /// What the program may do in its own user namespace, bit N for capability N.
    pub(super) capabilities: u64,
    /// `--noroot`.
    pub(super) noroot: bool,
    /// Whether `-u 0` asked for the name.
    pub(super) named_root: bool,
    /// What the environment says of a user who was named.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Who {
    /// Whether the supervisor takes ids or groups that it has not by the maps alone.
    pub(super) fn becomes_another(&self) -> bool {
        self.uids.becomes.is_some() || self.gids.becomes.is_some() || self.groups.is_some()
    }

    /// Decides who the run of `identity` is; `root` says whether the caller may map whatever it has.
    pub(super) fn new(
        identity: &Identity,
        root: bool,
        host_proc: BorrowedFd<'_>,
    ) -> Result<Self, LaunchError> {
        let user = identity.user.as_deref().map(find_user).transpose()?;
        let group = identity.group.as_deref().map(find_group).transpose()?;
        let ids = |kind, own, named, ranges: &[IdRange]| {
            let all = if root { own_map(host_proc, kind) } else { None };
            plan(kind, own, named, ranges, all.as_deref())
        };
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let named = user.as_ref().map(|user| user.uid);
        let capabilities = capabilities(identity)?;
        let uids = ids(Kind::User, uid, named, &identity.uid_map)?;
        let gids = ids(Kind::Group, gid, group, &identity.gid_map)?;
        Ok(Self {
            groups: groups(&uids, &gids, capabilities != 0),
            uids,
            gids,
            capabilities,
            noroot: identity.noroot,
            named_root: named == Some(0),
            environment: user.map(|user| user.environment).unwrap_or_default(),
        })
    }

    /// What the program gets before it runs.
    pub(super) const fn privileges(&self) -> Privileges {
        Privileges {
            capabilities: self.capabilities,
            noroot: self.noroot,
        }
    }

    /// What the handlers must know of it.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(
            self.uids.inside(),
            self.gids.inside(),
            self.capabilities,
            self.noroot && !self.named_root,
        )
    }

    /// Whether the program could change its ids, or act with a capability.
    pub(super) const fn is_capable(&self) -> bool {
        self.capabilities != 0
    }
}

/// A user by name or number.
struct Named {
    uid: u32,
    environment: Vec<(OsString, OsString)>,
}

/// An id that is no name.
fn number(kind: Kind, text: &str) -> Result<Option<u32>, LaunchError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id != END => Ok(Some(id)),
        _ => Err(LaunchError::said(format!(
            "{} {text}: no {} is so great (give a number below {END}, or a name)",
            kind.flag(),
            kind.name()
        ))),
    }
}

fn unknown(kind: Kind, text: &str, what: &str) -> LaunchError {
    LaunchError::said(format!(
        "{} {text}: {what} (give a name that {} of the host has, or a number)",
        kind.flag(),
        kind.list()
    ))
}

fn find_user(text: &str) -> Result<Named, LaunchError> {
    let given = number(Kind::User, text)?;
    let found = match given {
        Some(uid) => User::from_uid(uid.into()),
        None => User::from_name(text),
    };
    match (found, given) {
        (Ok(Some(user)), _) => Ok(Named {
            uid: user.uid.as_raw(),
            environment: vec![
                ("USER".into(), user.name.clone().into()),
                ("LOGNAME".into(), user.name.into()),
                ("HOME".into(), user.dir.into()),
            ],
        }),
        // A number needs no name, and keeps the names of the environment.
        (_, Some(uid)) => Ok(Named {
            uid,
            environment: Vec::new(),
        }),
        (Ok(None), None) => Err(unknown(Kind::User, text, "the host has no such user")),
        (Err(error), None) => Err(unknown(Kind::User, text, error.desc())),
    }
}

fn find_group(text: &str) -> Result<u32, LaunchError> {
    if let Some(gid) = number(Kind::Group, text)? {
        return Ok(gid);
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(unknown(Kind::Group, text, "the host has no such group")),
        Err(error) => Err(unknown(Kind::Group, text, error.desc())),
    }
}

/// The ids that exist where the caller is, each mapped to itself; `None` where /proc does not say.
fn own_map(host_proc: BorrowedFd<'_>, kind: Kind) -> Option<Vec<IdRange>> {
    let text = procfs::read(host_proc, &format!("self/{}_map", kind.name())).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.lines()
        .map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            let count = fields.nth(1)?.parse().ok()?;
            Some(IdRange {
                host: first,
                cage: first,
                count,
            })
        })
        .collect::<Option<Vec<_>>>()
        .filter(|map| !map.is_empty())
}

fn last(first: u32, count: u32) -> u32 {
    first.saturating_add(count - 1)
}

fn holds(first: u32, count: u32, id: u32) -> bool {
    (first..=last(first, count)).contains(&id)
}

/// Everything of `all` but these ids, on both sides: it maps each id to itself.
fn without(all: &[IdRange], holes: [u32; 2]) -> Vec<IdRange> {
    let mut kept = all.to_vec();
    for hole in holes {
        kept = kept
            .into_iter()
            .flat_map(|range| {
                if !holds(range.cage, range.count, hole) {
                    return vec![range];
                }
                let before = hole - range.cage;
                let pieces = [
                    (range.cage, before),
                    (hole.saturating_add(1), range.count - before - 1),
                ];
                let piece = |(first, count)| IdRange {
                    host: first,
                    cage: first,
                    count,
                };
                pieces.map(piece).to_vec()
            })
            .filter(|range| range.count > 0)
            .collect();
    }
    kept
}

fn shown(kind: Kind, range: IdRange) -> String {
    let IdRange { host, cage, count } = range;
    format!(
        "--{}-map={host}:{cage}:{count} (host {host}, cage {cage}, count {count})",
        kind.name()
    )
}

fn check_overlaps(kind: Kind, ranges: &[IdRange]) -> Result<(), LaunchError> {
    let meet = |a: u32, b: u32, one: &IdRange, other: &IdRange| {
        a <= last(b, other.count) && b <= last(a, one.count)
    };
    for (at, one) in ranges.iter().enumerate() {
        for other in ranges.iter().take(at) {
            let side = if meet(one.host, other.host, one, other) {
                "on the host's side"
            } else if meet(one.cage, other.cage, one, other) {
                "on the inside"
            } else {
                continue;
            };
            return Err(LaunchError::said(format!(
                "{} overlaps {} {side} (an id is mapped once: change one of them)",
                shown(kind, *one),
                shown(kind, *other)
            )));
        }
    }
    Ok(())
}

/// The map for a caller whose id is `own`; `all` is what it may map as root, each id to itself.
fn plan(
    kind: Kind,
    own: u32,
    named: Option<u32>,
    ranges: &[IdRange],
    all: Option<&[IdRange]>,
) -> Result<Ids, LaunchError> {
    let alone = |cage| IdRange {
        host: own,
        cage,
        count: 1,
    };
    if ranges.is_empty() {
        let name = named.unwrap_or(own);
        let (map, writer) = match all {
            None => (vec![alone(name)], Writer::Own),
            Some(all) if name == own => (all.to_vec(), Writer::Root),
            // The host's owner of that id would be taken for the caller, and the caller's own id has nobody to stand for.
            Some(all) => {
                let mut map = without(all, [own, name]);
                map.push(alone(name));
                (map, Writer::Root)
            }
        };
        return Ok(Ids {
            kind,
            map,
            writer,
            becomes: None,
        });
    }
    let mut map = ranges.to_vec();
    check_overlaps(kind, &map)?;
    let outside = |range: &&IdRange| holds(range.host, range.count, own);
    let mine = map
        .iter()
        .find(outside)
        .map(|range| range.cage + (own - range.host));
    let is_inside =
        |map: &[IdRange], id| map.iter().any(|range| holds(range.cage, range.count, id));
    let mut mine = mine;
    let inside = match (named, mine) {
        (Some(name), _) if is_inside(&map, name) => name,
        (Some(name), None) => {
            map.push(alone(name));
            mine = Some(name);
            name
        }
        (Some(name), Some(mine)) => {
            return Err(LaunchError::said(format!(
                "{} {name}: --{}-map maps nobody to {name}, and the caller ({own}) to {mine} (map somebody to {name}, or leave {} out)",
                kind.flag(),
                kind.name(),
                kind.flag()
            )));
        }
        (None, Some(mine)) => mine,
        (None, None) if is_inside(&map, 0) => 0,
        (None, None) => map.first().map_or(0, |range| range.cage),
    };
    let becomes = Some(inside).filter(|_| mine != Some(inside));
    let writer = match all {
        Some(all) => {
            check_own(kind, &map, all)?;
            Writer::Root
        }
        None if map == [alone(inside)] => Writer::Own,
        None => Writer::Helper,
    };
    Ok(Ids {
        kind,
        map,
        writer,
        becomes,
    })
}

/// Root maps what there is where it is, which in a container is not everything.
fn check_own(kind: Kind, map: &[IdRange], all: &[IdRange]) -> Result<(), LaunchError> {
    let exists = |range: &&IdRange| {
        // Neighbouring ranges count as one.
        let mut next = u64::from(range.host);
        let end = next + u64::from(range.count);
        while next < end {
            let found = all
                .iter()
                .find(|own| u32::try_from(next).is_ok_and(|next| holds(own.cage, own.count, next)));
            match found {
                Some(own) => next = u64::from(own.cage) + u64::from(own.count),
                None => return false,
            }
        }
        true
    };
    match map.iter().find(|range| !exists(range)) {
        None => Ok(()),
        Some(range) => {
            let have: Vec<String> = all
                .iter()
                .map(|own| format!("{}-{}", own.cage, last(own.cage, own.count)))
                .collect();
            Err(LaunchError::said(format!(
                "{}: not all of these host ids exist here (there are {})",
                shown(kind, *range),
                have.join(", ")
            )))
        }
    }
}

/// The supplementary groups to take: none with another's ids; where the program may change them, those that the run knows,
/// since the supervisor follows it and must find back.
fn groups(uids: &Ids, gids: &Ids, capable: bool) -> Option<Vec<u32>> {
    if gids.writer == Writer::Own {
        // The kernel forbids it, the program too.
        return None;
    }
    if uids.becomes.is_some() || gids.becomes.is_some() {
        return Some(Vec::new());
    }
    let own = nix::unistd::getgroups().unwrap_or_default();
    let known: Vec<u32> = own
        .iter()
        .filter_map(|group| gids.inside_of(group.as_raw()))
        .collect();
    (capable && known.len() < own.len()).then_some(known)
}

/// What is left when all changes are made in their order.
///
/// `CAP_SETFCAP` is withheld, by `ALL` silently: where the host's root is mapped, a file capability that the run writes to a
/// bound directory would count outside.
fn capabilities(identity: &Identity) -> Result<u64, LaunchError> {
    let withheld = Capability::SETFCAP.bit();
    let (mut set, mut named) = (0, false);
    for change in &identity.capabilities {
        match *change {
            CapabilityChange::Add(bits) => {
                set |= bits;
                named |= bits == withheld;
            }
            CapabilityChange::Drop(bits) => {
                set &= !bits;
                named &= bits & withheld == 0;
            }
        }
    }
    if named {
        return Err(LaunchError::said(
            "--cap-add=setfcap: a run never has it, since the file capabilities that it wrote could count outside (leave it out)",
        ));
    }
    set &= !withheld;
    if identity.noroot && set != 0 {
        return Err(LaunchError::said(
            "--cap-add does not go with --noroot, which means no privileges (leave one of them out)",
        ));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(host: u32, cage: u32, count: u32) -> IdRange {
        IdRange { host, cage, count }
    }

    const ALL: [IdRange; 1] = [range(0, 0, u32::MAX)];

    fn planned(own: u32, named: Option<u32>, ranges: &[IdRange], root: bool) -> Ids {
        plan(Kind::User, own, named, ranges, root.then_some(&ALL[..])).unwrap()
    }

    #[test]
    fn an_ordinary_caller_has_its_own_id_under_any_name() {
        let plain = planned(1000, None, &[], false);
        assert_eq!(
            (plain.text().as_str(), plain.writer),
            ("1000 1000 1\n", Writer::Own)
        );
        let named = planned(1000, Some(0), &[], false);
        assert_eq!((named.text().as_str(), named.becomes), ("0 1000 1\n", None));
        let mapped = planned(1000, None, &[range(1000, 7, 1)], false);
        assert_eq!(
            (mapped.text().as_str(), mapped.writer),
            ("7 1000 1\n", Writer::Own)
        );
        let many = [range(1000, 0, 1), range(100_000, 1, 10)];
        let many = planned(1000, None, &many, false);
        assert_eq!((many.writer, many.becomes), (Writer::Helper, None));
        let foreign = planned(1000, None, &[range(100_000, 0, 10)], false);
        assert_eq!((foreign.writer, foreign.becomes), (Writer::Helper, Some(0)));
    }

    #[test]
    fn root_keeps_all_ids_but_for_the_two_that_change_places() {
        assert_eq!(planned(0, None, &[], true).map, ALL);
        let named = planned(0, Some(5), &[], true);
        assert_eq!(
            named.text(),
            format!("1 1 4\n6 6 {}\n5 0 1\n", u32::MAX - 6)
        );
        assert_eq!((named.writer, named.becomes), (Writer::Root, None));
        let remapped = planned(0, None, &[range(100_000, 0, 10)], true);
        assert_eq!(remapped.becomes, Some(0));
        let other = [range(0, 0, 1), range(100_000, 1, 10)];
        assert_eq!(planned(0, Some(3), &other, true).becomes, Some(3));
        assert_eq!(planned(0, Some(0), &other, true).becomes, None);
        let added = planned(0, Some(77), &[range(100_000, 0, 10)], true);
        assert_eq!((added.becomes, added.map.len()), (None, 2));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let refusal = |ranges: &[IdRange], named, all: &[IdRange]| {
            plan(Kind::User, 0, named, ranges, Some(all))
                .unwrap_err()
                .to_string()
        };
        let inside = refusal(&[range(0, 0, 10), range(50, 9, 1)], None, &ALL);
        assert!(
            inside.contains("overlaps") && inside.contains("on the inside"),
            "{inside}"
        );
        let outside = refusal(&[range(0, 0, 10), range(5, 90, 1)], None, &ALL);
        assert!(outside.contains("on the host's side"), "{outside}");
        let nobody = refusal(&[range(0, 0, 1)], Some(4), &ALL);
        assert!(nobody.contains("-u 4"), "{nobody}");
        let small = [range(0, 0, 10), range(10, 10, 5)];
        assert!(plan(Kind::User, 0, None, &[range(5, 5, 10)], Some(&small)).is_ok());
        let absent = refusal(&[range(5, 5, 11)], None, &small);
        assert!(absent.contains("10-14"), "{absent}");
    }

    #[test]
    fn capabilities_are_changed_in_order() {
        let of = |changes: &[CapabilityChange], noroot| {
            capabilities(&Identity {
                capabilities: changes.to_vec(),
                noroot,
                ..Identity::default()
            })
        };
        let all = (1 << 41) - 1;
        let (add, drop) = (CapabilityChange::Add, CapabilityChange::Drop);
        let setfcap = Capability::SETFCAP.bit();
        assert_eq!(of(&[], false).unwrap(), 0);
        assert_eq!(of(&[add(3), drop(1), add(4)], false).unwrap(), 6);
        assert_eq!(of(&[drop(1), add(1)], false).unwrap(), 1);
        assert_eq!(of(&[add(all)], false).unwrap(), all & !setfcap);
        assert!(of(&[add(setfcap)], false).is_err());
        assert_eq!(of(&[add(setfcap), drop(all), add(1)], false).unwrap(), 1);
        assert!(of(&[add(1)], true).is_err());
    }
}

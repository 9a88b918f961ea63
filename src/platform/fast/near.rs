//! Code near an object: the shim, and a stub for each of its patched sites. A jump reaches two gigabytes, so every
//! object gets its own.

use super::super::sites;
use super::atlas::Mark;
use crate::sys::ptrace::Regs;
use crate::sys::shim::{self, Place, STUB, Shape};

/// Bytes of it.
pub(in super::super) const NEAR: u64 = 8192;
/// Stubs begin here.
const STUBS: u64 = 1536;
/// So many fit.
const MOST: usize = (NEAR - STUBS) as usize / STUB;
/// The jump, which replaces what a site begins with, and `syscall`, which stays.
const JUMP: u64 = 5;
const SYSCALL: u64 = 2;
/// What all stubs have.
const BODY: u64 = 24;
/// A stub's own copy of what guards its site.
const GUARD_COPY: usize = 13;

/// The arithmetic flags, as `lahf` gives them in ah.
const FLAGS: u64 = 0xd5;
const OVERFLOW: u64 = 1 << 11;

/// A site in an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Site {
    /// Its first byte.
    pub(in super::super) addr: u64,
    nr: u32,
    shape: Shape,
    site: sites::Site,
}

impl Site {
    /// A site of an object that is mapped from `offset` on at `base`.
    pub(in super::super) fn new(mark: &Mark, base: u64, offset: u64) -> Option<Self> {
        let addr = base.checked_add(mark.site.offset.checked_sub(offset)?)?;
        Some(Self {
            addr,
            nr: mark.nr,
            shape: mark.shape,
            site: mark.site,
        })
    }

    /// The address behind its `syscall`.
    fn end(&self) -> u64 {
        self.addr + self.code().len() as u64
    }

    /// What stands there unpatched.
    pub(in super::super) fn code(&self) -> &[u8] {
        self.site.code()
    }

    /// What guards it, at another address: the comparison with the same byte, and the branch to the same place.
    fn guard_at(&self, at: u64) -> Option<Vec<u8>> {
        let [
            0x80,
            0x3d,
            a,
            b,
            c,
            d,
            value,
            condition @ 0x70..=0x7f,
            short,
            ..,
        ] = *self.code()
        else {
            return None;
        };
        let (compared, branch) = (sites::GUARD.0 as u64, sites::GUARD.1 as u64);
        let byte = i64::from(i32::from_le_bytes([a, b, c, d]));
        let byte = (self.addr + compared).wrapping_add_signed(byte);
        let target = self.addr + compared + branch;
        let target = target.wrapping_add_signed(i64::from(short.cast_signed()));
        let mut guard = vec![0x80, 0x3d];
        // A displacement counts from the instruction's end.
        guard.extend(displacement(at + compared, byte)?);
        guard.extend([value, 0x0f, condition + 0x10]);
        guard.extend(displacement(at + GUARD_COPY as u64, target)?);
        Some(guard)
    }

    /// Bytes of its stub in front of what all stubs have.
    fn guard_len(&self) -> u64 {
        if self.site.kind == sites::Kind::Guarded {
            GUARD_COPY as u64
        } else {
            0
        }
    }
}

/// Where a thread stands that was interrupted in such code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// Where the site's own code goes on at so many bytes: what stands in front of it in the stub is done so far.
    Guard(Site, u64),
    /// In the stub of a call; whether its flags are still its own.
    Stub(Site, bool),
    /// In the shim.
    Shim(Place),
}

/// The code.
#[derive(Debug)]
pub(in super::super) struct Near {
    /// Where it is mapped.
    pub(in super::super) base: u64,
    /// The patched sites, in the order of their stubs.
    pub(in super::super) sites: Vec<Site>,
}

fn displacement(from: u64, to: u64) -> Option<[u8; 4]> {
    let distance = to.wrapping_sub(from).cast_signed();
    i32::try_from(distance).ok().map(i32::to_le_bytes)
}

impl Near {
    /// Code at `base` for as many of these sites as fit and can be reached.
    pub(in super::super) fn new(base: u64, mut sites: Vec<Site>) -> Self {
        sites.truncate(MOST);
        sites.retain(|site| {
            // From both ends of it.
            [base, base + NEAR].into_iter().all(|at| {
                let guarded = site.guard_len() == 0 || site.guard_at(at).is_some();
                guarded && displacement(at, site.addr).is_some()
            })
        });
        Self { base, sites }
    }

    fn stub_at(&self, index: usize) -> u64 {
        self.base + STUBS + (index * STUB) as u64
    }

    /// The bytes, for a mailbox at `mailbox`.
    pub(in super::super) fn image(&self, mailbox: u64) -> Vec<u8> {
        let mut image = shim::code().to_vec();
        debug_assert!(image.len() as u64 <= STUBS);
        if let Some(word) = image.get_mut(..8) {
            word.copy_from_slice(&mailbox.to_le_bytes());
        }
        image.resize(STUBS as usize, 0xcc);
        let entry = self.base + shim::entry() as u64;
        for (index, site) in self.sites.iter().enumerate() {
            let begin = self.stub_at(index);
            if site.guard_len() > 0 {
                image.extend(site.guard_at(begin).unwrap_or_default());
            }
            let at = begin + site.guard_len();
            // lea end(%rip),%rcx
            image.extend([0x48, 0x8d, 0x0d]);
            image.extend(displacement(at + 7, site.end()).unwrap_or_default());
            // lahf; seto %al; movzwl %ax,%eax; or $(shape and number),%eax
            image.extend([0x9f, 0x0f, 0x90, 0xc0, 0x0f, 0xb7, 0xc0, 0x0d]);
            let call = shim::call(site.nr, site.shape);
            image.extend(call.to_le_bytes());
            // jmp
            image.push(0xe9);
            image.extend(displacement(at + BODY, entry).unwrap_or_default());
            image.resize((begin - self.base) as usize + STUB, 0xcc);
        }
        image.resize(NEAR as usize, 0xcc);
        image
    }

    /// Whether the `syscall` of one of its sites ends at this address.
    pub(super) fn ends_site(&self, end: u64) -> bool {
        self.sites.iter().any(|site| site.end() == end)
    }

    /// What a patch writes over the first bytes of each site.
    pub(in super::super) fn patches(&self) -> impl Iterator<Item = (&Site, [u8; 5])> + '_ {
        self.sites.iter().enumerate().filter_map(|(index, site)| {
            let [a, b, c, d] = displacement(site.addr + JUMP, self.stub_at(index))?;
            Some((site, [0xe9, a, b, c, d]))
        })
    }

    /// Where a thread at `rip` stands, where it is in this code.
    pub(super) fn standing(&self, rip: u64) -> Option<Standing> {
        let offset = rip.checked_sub(self.base).filter(|&offset| offset < NEAR)?;
        let Some(in_stubs) = offset.checked_sub(STUBS) else {
            return shim::place(usize::try_from(offset).ok()?).map(Standing::Shim);
        };
        let index = usize::try_from(in_stubs).ok()? / STUB;
        let &site = self.sites.get(index)?;
        let (compared, branch) = (sites::GUARD.0 as u64, sites::GUARD.1 as u64);
        let Some(in_body) = (in_stubs % STUB as u64).checked_sub(site.guard_len()) else {
            let is_first = in_stubs.is_multiple_of(STUB as u64);
            return Some(Standing::Guard(site, if is_first { 0 } else { compared }));
        };
        if in_body == 0 && site.guard_len() > 0 {
            return Some(Standing::Guard(site, compared + branch));
        }
        // The `or` is the last but one, and the first that changes flags.
        const OR: u64 = 14;
        Some(Standing::Stub(site, in_body <= OR))
    }
}

/// The flags that a stub put into ax.
fn flags_of(ax: u64) -> u64 {
    (ax >> 8 & FLAGS) | (ax & 1) << 11
}

/// A call as a thread would make it at its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Native {
    /// The address behind the `syscall`.
    pub(in super::super) end: u64,
    nr: u64,
    flags: u64,
}

impl Native {
    /// By what the shim put aside.
    pub(in super::super) fn saved(end: u64, call: u32) -> Self {
        Self {
            end,
            nr: shim::number(call),
            flags: flags_of(u64::from(call)),
        }
    }

    /// By the registers, where they say it.
    pub(in super::super) fn of(standing: Standing, regs: &Regs) -> Option<Self> {
        let live = regs.eflags & (FLAGS | OVERFLOW);
        let posted = Self::saved(regs.rcx, u32::try_from(regs.rax & 0xffff_ffff).unwrap_or(0));
        Some(match standing {
            Standing::Stub(site, flags_live) => Self {
                end: site.end(),
                nr: u64::from(site.nr),
                flags: if flags_live { live } else { posted.flags },
            },
            Standing::Shim(Place::Registers | Place::Leaving { loaded: true }) => posted,
            Standing::Shim(Place::Overflow) => Self {
                flags: (posted.flags & FLAGS) | (live & OVERFLOW),
                ..posted
            },
            Standing::Shim(Place::Flags) => Self {
                nr: regs.r11 & 0xffff_ffff,
                flags: live,
                ..posted
            },
            Standing::Shim(Place::Last) => Self {
                end: regs.rcx.wrapping_add(SYSCALL),
                nr: regs.rax & 0xffff_ffff,
                flags: live,
            },
            Standing::Shim(_) | Standing::Guard(..) => return None,
        })
    }

    /// The registers of a thread that goes on in a site's own code, so many bytes behind its begin, and its end.
    pub(in super::super) fn within(site: &Site, offset: u64, regs: &Regs) -> (u64, Regs) {
        let regs = Regs {
            rip: site.addr + offset,
            orig_rax: u64::MAX,
            ..*regs
        };
        (site.end(), regs)
    }

    fn flagged(&self, regs: &Regs) -> Regs {
        let mut regs = *regs;
        regs.eflags = (regs.eflags & !(FLAGS | OVERFLOW)) | self.flags;
        regs.orig_rax = u64::MAX;
        regs
    }

    /// The registers of a thread that is about to make it.
    pub(in super::super) fn before(&self, regs: &Regs) -> Regs {
        let mut regs = self.flagged(regs);
        regs.rip = self.end.wrapping_sub(SYSCALL);
        regs.rax = self.nr;
        regs
    }

    /// The registers of a thread that has made it.
    pub(in super::super) fn after(&self, regs: &Regs, result: u64) -> Regs {
        let mut regs = self.flagged(regs);
        (regs.rip, regs.rcx, regs.r11) = (self.end, self.end, regs.eflags);
        regs.rax = result;
        regs
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions};

    use super::*;

    fn near() -> Near {
        let site = |addr, nr: u32| {
            let [a, b, c, d] = nr.to_le_bytes();
            let code = [0xb8, a, b, c, d, 0x0f, 0x05];
            Site {
                addr,
                nr,
                shape: Shape::Second,
                site: sites::Site::made(sites::Kind::Number, &code),
            }
        };
        let sites = vec![
            site(0x7000_0010_0000, 262),
            site(0x7000_0010_1000, 21),
            // Too far for a jump.
            site(0x7000_f000_0000, 4),
        ];
        Near::new(0x7000_0000_0000, sites)
    }

    #[test]
    fn a_stub_knows_its_site_and_leads_to_the_shim() {
        let near = near();
        assert_eq!(near.sites.len(), 2);
        let image = near.image(0x1234_5000);
        assert_eq!(image.len() as u64, NEAR);
        assert_eq!(image[..8], 0x1234_5000_u64.to_le_bytes());
        for (index, (&of, patch)) in near.patches().enumerate() {
            let site = near.sites[index];
            let addr = site.addr;
            assert_eq!(of, site);
            let mut jump = Decoder::with_ip(64, &patch, addr, DecoderOptions::NONE);
            let stub = jump.decode().near_branch_target();
            assert_eq!(stub, near.stub_at(index));
            let at = (stub - near.base) as usize;
            let decoder = Decoder::with_ip(64, &image[at..at + STUB], stub, DecoderOptions::NONE);
            let code: Vec<_> = decoder.into_iter().take(6).collect();
            let codes: Vec<Code> = code.iter().map(|step| step.code()).collect();
            assert_eq!(
                codes,
                [
                    Code::Lea_r64_m,
                    Code::Lahf,
                    Code::Seto_rm8,
                    Code::Movzx_r32_rm16,
                    Code::Or_EAX_imm32,
                    Code::Jmp_rel32_64
                ]
            );
            assert_eq!(code[0].memory_displacement64(), site.end());
            assert_eq!(code[4].immediate32(), shim::call(site.nr, Shape::Second));
            assert_eq!(
                code[5].near_branch_target(),
                near.base + shim::entry() as u64
            );
        }
    }

    #[test]
    fn where_a_thread_stands_is_known_at_every_byte() {
        let near = near();
        let stub = near.stub_at(1);
        let site = near.sites[1];
        assert_eq!(near.standing(stub), Some(Standing::Stub(site, true)));
        assert_eq!(near.standing(stub + 14), Some(Standing::Stub(site, true)));
        assert_eq!(near.standing(stub + 19), Some(Standing::Stub(site, false)));
        assert_eq!(near.standing(near.stub_at(2)), None);
        assert_eq!(near.standing(near.base - 1), None);
        assert_eq!(near.standing(near.base + NEAR), None);
        let entry = near.base + shim::entry() as u64;
        assert_eq!(near.standing(entry), Some(Standing::Shim(Place::Registers)));
        let last = near.base + shim::code().len() as u64 - 1;
        assert_eq!(near.standing(last), Some(Standing::Shim(Place::Last)));
        assert!(near.ends_site(site.addr + 7) && !near.ends_site(site.addr));
    }

    #[test]
    fn a_guard_is_as_it_was_wherever_its_stub_lies() {
        let code = b"\x80\x3d\x31\x33\x0e\0\0\x74\x17\x31\xc0\x0f\x05";
        let addr = 0x7000_0010_0000;
        let site = Site {
            addr,
            nr: 0,
            shape: Shape::Plain,
            site: sites::Site::made(sites::Kind::Guarded, code),
        };
        let near = Near::new(0x7000_0000_0000, vec![site]);
        let image = near.image(0x1234_5000);
        let stub = near.stub_at(0);
        let at = (stub - near.base) as usize;
        let decode = |bytes: &[u8], ip| -> Vec<_> {
            let decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
            decoder.into_iter().collect()
        };
        let theirs = decode(code, addr);
        let ours = decode(&image[at..at + STUB], stub);
        assert_eq!(ours[0].code(), Code::Cmp_rm8_imm8);
        assert_eq!(
            ours[0].memory_displacement64(),
            theirs[0].memory_displacement64()
        );
        assert_eq!(
            (ours[0].immediate8(), ours[1].code()),
            (0, Code::Je_rel32_64)
        );
        assert_eq!(ours[1].near_branch_target(), theirs[1].near_branch_target());
        assert_eq!(ours[2].memory_displacement64(), site.end());
        assert_eq!(
            ours[7].near_branch_target(),
            near.base + shim::entry() as u64
        );
        // Where a thread is interrupted in it, its own code goes on.
        for (in_stub, in_site) in [(0, 0), (7, 7), (13, 9)] {
            assert_eq!(
                near.standing(stub + in_stub),
                Some(Standing::Guard(site, in_site))
            );
        }
        assert_eq!(near.standing(stub + 20), Some(Standing::Stub(site, true)));
        assert_eq!(near.standing(stub + 32), Some(Standing::Stub(site, false)));
        // What it compares with is out of the stub's reach.
        let far = Near::new(0x6fff_8011_0000, vec![site]);
        assert!(far.sites.is_empty());
    }

    #[test]
    fn flags_are_given_back_as_they_were_put_aside() {
        assert_eq!(flags_of(0xd501), FLAGS | OVERFLOW);
        assert_eq!(flags_of(0x0200), 0);
        assert_eq!(flags_of(0x4700), 0x45);
        let native = Native::saved(0x2007, 262 << 16 | 0x4701);
        let regs = Regs {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 9,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            orig_rax: 5,
            rip: 1,
            cs: 0,
            eflags: 0x782,
            rsp: 0,
            ss: 0,
            fs_base: 0,
            gs_base: 0,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
        };
        let before = native.before(&regs);
        assert_eq!(
            (before.rip, before.rax, before.orig_rax),
            (0x2005, 262, u64::MAX)
        );
        assert_eq!(before.eflags, 0x702 | 0x45 | OVERFLOW);
        let after = native.after(&regs, 7);
        assert_eq!((after.rip, after.rcx, after.rax), (0x2007, 0x2007, 7));
        assert_eq!(after.r11, after.eflags);
    }
}

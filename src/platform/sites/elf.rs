//! What the finder of sites reads of an ELF object: its segments, and its sections by name. The bytes are the cage's:
//! nothing in them is believed that was not held against their length. No code is decoded here.

use super::Unfit;

/// The largest object that is looked at, in bytes.
const LARGEST: usize = 64 << 20;
/// The most program headers that are looked at; linkers make about a dozen.
const SEGMENTS_MOST: u16 = 128;
/// Where user addresses end (without LA57).
const TOP: u64 = 1 << 47;

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

/// The two bytes at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The four bytes at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The eight bytes at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// `len` bytes from `at`, both as a file gives them.
fn piece(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let from = usize::try_from(at).ok()?;
    let to = usize::try_from(at.checked_add(len)?).ok()?;
    bytes.get(from..to)
}

/// What a `PT_LOAD` brings from the file.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    /// `p_vaddr`.
    pub(super) addr: u64,
    /// `p_offset`.
    pub(super) offset: u64,
    /// `p_filesz` bytes. `addr` and this length together stay below [`TOP`].
    pub(super) bytes: &'a [u8],
    /// Whether it may be executed and not written.
    pub(super) code: bool,
}

impl<'a> Segment<'a> {
    /// The address behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.addr + self.bytes.len() as u64
    }

    /// Its bytes from this address on.
    pub(super) fn from(&self, addr: u64) -> Option<&'a [u8]> {
        self.bytes
            .get(usize::try_from(addr.checked_sub(self.addr)?).ok()?..)
    }
}

/// A section: what says where functions are.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: u32,
    pub(super) addr: u64,
    pub(super) bytes: &'a [u8],
}

/// An object whose headers hold.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// Ascending, none overlaps the next.
    pub(super) segments: Vec<Segment<'a>>,
    /// As far as they can be read; none where there is no table of them.
    pub(super) sections: Vec<Section<'a>>,
    /// `.eh_frame_hdr`'s address.
    pub(super) unwind_header: Option<u64>,
}

impl<'a> Object<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Unfit> {
        if bytes.len() > LARGEST {
            return Err(Unfit::Large);
        }
        // Class 64, little endian, version 1; then ET_EXEC or ET_DYN, and EM_X86_64.
        let ours = bytes.starts_with(b"\x7fELF\x02\x01\x01")
            && matches!(u16_at(bytes, 16), Some(2 | 3))
            && u16_at(bytes, 18) == Some(62);
        if !ours {
            return Err(Unfit::Foreign);
        }
        Self::with_headers(bytes).ok_or(Unfit::Malformed)
    }

    fn with_headers(bytes: &'a [u8]) -> Option<Self> {
        let table = u64_at(bytes, 32)?;
        let count = u16_at(bytes, 56)?;
        if u16_at(bytes, 54)? != 56 || count > SEGMENTS_MOST {
            return None;
        }
        let table = piece(bytes, table, u64::from(count) * 56)?;
        let mut segments: Vec<Segment<'a>> = Vec::new();
        let mut unwind_header = None;
        let mut code_len = 0;
        for header in table.chunks_exact(56) {
            let addr = u64_at(header, 16)?;
            match u32_at(header, 0)? {
                PT_GNU_EH_FRAME => unwind_header = Some(addr),
                PT_LOAD => {
                    let flags = u32_at(header, 4)?;
                    let offset = u64_at(header, 8)?;
                    let len = u64_at(header, 32)?;
                    let bytes = piece(bytes, offset, len)?;
                    let follows = segments.last().is_none_or(|last| last.end() <= addr);
                    if !follows || addr.checked_add(len)? > TOP {
                        return None;
                    }
                    let code = flags & (PF_X | PF_W) == PF_X;
                    code_len += if code { bytes.len() } else { 0 };
                    segments.push(Segment {
                        addr,
                        offset,
                        bytes,
                        code,
                    });
                }
                _ => {}
            }
        }
        // Many headers for the same bytes would make a small file a large scan.
        if code_len > bytes.len() {
            return None;
        }
        Some(Self {
            segments,
            sections: sections(bytes).unwrap_or_default(),
            unwind_header,
        })
    }

    /// The segment that has this address's byte.
    pub(super) fn segment(&self, addr: u64) -> Option<&Segment<'a>> {
        let after = self.segments.partition_point(|s| s.addr <= addr);
        self.segments
            .get(after.checked_sub(1)?)
            .filter(|s| addr < s.end())
    }

    /// The bytes from this address to its segment's end.
    pub(super) fn from(&self, addr: u64) -> Option<&'a [u8]> {
        self.segment(addr)?.from(addr)
    }

    /// The first section of one of these names.
    pub(super) fn section(&self, names: &[&[u8]]) -> Option<&Section<'a>> {
        self.sections.iter().find(|s| names.contains(&s.name))
    }
}

/// The longest name of a section that is told from others.
const NAME_LONGEST: usize = 32;

fn sections(bytes: &[u8]) -> Option<Vec<Section<'_>>> {
    let table = u64_at(bytes, 40)?;
    let count = u16_at(bytes, 60)?;
    if u16_at(bytes, 58)? != 64 {
        return None;
    }
    let table = piece(bytes, table, u64::from(count) * 64)?;
    let content =
        |header: &[u8]| -> Option<&[u8]> { piece(bytes, u64_at(header, 24)?, u64_at(header, 32)?) };
    let names_at = usize::from(u16_at(bytes, 62)?).checked_mul(64)?;
    let names = content(table.get(names_at..)?)?;
    let mut sections = Vec::new();
    for header in table.chunks_exact(64) {
        // SHT_NOBITS has no bytes, and its offset means nothing.
        let kind = u32_at(header, 4)?;
        let Some(bytes) = content(header).filter(|_| kind != 8) else {
            continue;
        };
        let name = usize::try_from(u32_at(header, 0)?).ok()?;
        let name = names.get(name..)?;
        let name = name.get(..NAME_LONGEST.min(name.len()))?;
        sections.push(Section {
            name: name.split(|&b| b == 0).next()?,
            kind,
            addr: u64_at(header, 16)?,
            bytes,
        });
    }
    Some(sections)
}

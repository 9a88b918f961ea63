//! One JSON object on one line, written straight into bytes. Strings may come from a hostile cage: what is not UTF-8
//! becomes `{"hex":"…"}`, what is too long is cut and says so, and no control character ever reaches a terminal.

use std::fmt::Write as _;

/// The largest integer that every JSON reader keeps exact.
const EXACT: u64 = 1 << 53;

/// Strings longer than this are cut.
pub const LONGEST: usize = 4096;

/// An object, or an array, that is being written.
#[derive(Debug, Clone, Default)]
pub struct Json {
    text: String,
}

impl Json {
    /// An object of about so many bytes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
        }
    }

    /// The members so far, without braces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn comma(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['{', '[', ':']) {
            self.text.push(',');
        }
    }

    /// Begins a member; a value follows.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.comma();
        quote(&mut self.text, name);
        self.text.push(':');
        self
    }

    /// A string of the program's own, or null.
    pub fn text(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.bytes(value.as_bytes()),
            None => self.raw("null"),
        }
    }

    /// A string that may come from a cage.
    pub fn bytes(&mut self, value: &[u8]) {
        self.cut(value, value.len());
    }

    /// The beginning of a string that was `len` bytes long.
    pub fn cut(&mut self, value: &[u8], len: usize) {
        self.comma();
        let kept = value.get(..LONGEST).unwrap_or(value);
        let cut = kept.len() < len;
        // The cut may have fallen into a character: then that one goes too.
        let valid = match std::str::from_utf8(kept) {
            Ok(text) => Some(text),
            Err(error) if cut && error.error_len().is_none() => kept
                .get(..error.valid_up_to())
                .and_then(|whole| std::str::from_utf8(whole).ok()),
            Err(_) => None,
        };
        match (valid, cut) {
            (Some(text), false) => quote(&mut self.text, text),
            (Some(text), true) => {
                self.text.push_str("{\"text\":");
                quote(&mut self.text, text);
            }
            (None, _) => {
                self.text.push_str("{\"hex\":\"");
                for byte in kept {
                    let _ = write!(self.text, "{byte:02x}");
                }
                self.text.push('"');
            }
        }
        if cut {
            let _ = write!(self.text, ",\"trunc\":true,\"len\":{len}");
        }
        if cut || valid.is_none() {
            self.text.push('}');
        }
    }

    /// A signed number.
    pub fn int(&mut self, value: i64) {
        self.comma();
        if value.unsigned_abs() > EXACT {
            let _ = write!(self.text, "\"{value:#x}\"");
        } else {
            let _ = write!(self.text, "{value}");
        }
    }

    /// An unsigned number; above 2^53 as `"0x…"`, which no reader rounds.
    pub fn uint(&mut self, value: u64) {
        self.comma();
        if value > EXACT {
            let _ = write!(self.text, "\"{value:#x}\"");
        } else {
            let _ = write!(self.text, "{value}");
        }
    }

    /// An address.
    pub fn addr(&mut self, value: u64) {
        self.comma();
        let _ = write!(self.text, "\"{value:#x}\"");
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// Text that is JSON already.
    pub fn raw(&mut self, json: &str) {
        self.comma();
        self.text.push_str(json);
    }

    /// The members of another object.
    pub fn members(&mut self, other: &Self) {
        if !other.text.is_empty() {
            self.raw(&other.text);
        }
    }

    /// Opens an object or an array.
    pub fn open(&mut self, bracket: char) {
        self.comma();
        self.text.push(bracket);
    }

    /// Closes it.
    pub fn close(&mut self, bracket: char) {
        self.text.push(bracket);
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Almost every string is all of this.
    let is_plain = |&byte: &u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Controls, DEL and C1, line separators, and what turns text around: nothing that a terminal obeys.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(build: impl FnOnce(&mut Json)) -> Value {
        let mut out = Json::default();
        out.open('{');
        build(&mut out);
        out.close('}');
        serde_json::from_str(out.as_str()).unwrap()
    }

    fn value(bytes: &[u8]) -> Value {
        object(|out| out.key("k").bytes(bytes))["k"].take()
    }

    #[test]
    fn any_bytes_become_json_that_reads_back_to_them() {
        assert_eq!(value(b"plain"), json!("plain"));
        assert_eq!(value(b"\"\\\n\x1b[31m\x00"), json!("\"\\\n\u{1b}[31m\0"));
        assert_eq!(
            value("\u{9b}2J \u{202e} é".as_bytes()),
            json!("\u{9b}2J \u{202e} é")
        );
        assert_eq!(value(b"a\xff\x00"), json!({"hex": "61ff00"}));
        for byte in 0..=255u8 {
            let read = value(&[byte, b'x']);
            let back = read.as_str().map_or_else(
                || read["hex"].as_str().unwrap() == format!("{byte:02x}78"),
                |text| text.as_bytes() == [byte, b'x'],
            );
            assert!(back, "byte {byte:#x} became {read}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_written_raw() {
        let mut out = Json::default();
        out.bytes("\u{1b}\u{7f}\u{9b}\u{202e}\u{2066}\r".as_bytes());
        assert!(out.as_str().chars().all(|c| c.is_ascii_graphic()));
    }

    #[test]
    fn a_long_string_is_cut_between_characters_and_says_so() {
        let long = "é".repeat(LONGEST);
        let read = value(&[b"x", long.as_bytes()].concat());
        assert_eq!(read["trunc"], json!(true));
        assert_eq!(read["len"], json!(2 * LONGEST + 1));
        let kept = read["text"].as_str().unwrap();
        assert!(kept.len() == LONGEST - 1 && kept.starts_with("xé") && kept.ends_with('é'));
        let read = value(&vec![0xffu8; LONGEST + 1]);
        assert_eq!(read["hex"].as_str().unwrap().len(), 2 * LONGEST);
        assert_eq!(read["len"], json!(LONGEST + 1));
        assert_eq!(value(&[b'a'; LONGEST]).as_str().unwrap().len(), LONGEST);
    }

    #[test]
    fn numbers_stay_exact() {
        let read = object(|out| {
            out.key("a").uint(1 << 53);
            out.key("b").uint((1 << 53) + 1);
            out.key("c").int(-100);
            out.key("d").int(i64::MIN);
            out.key("e").addr(0);
            out.key("f").open('[');
            out.int(1);
            out.bool(true);
            out.close(']');
            out.key("g").text(None);
        });
        assert_eq!(
            read,
            json!({"a": 9_007_199_254_740_992u64, "b": "0x20000000000001", "c": -100,
                   "d": "0x8000000000000000", "e": "0x0", "f": [1, true], "g": null})
        );
    }
}

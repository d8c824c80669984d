//! Makes texts without what Rust cannot do without: whoever runs out of memory gets an error, and the process goes on.

use std::fmt::{self, Display, Write};

use crate::js::Outcome;
use crate::memory::none_for;

/// Longer texts than this go to the heap.
const ROOM: usize = 1000;

/// A text that was written.
pub(crate) struct Text {
    room: [u8; ROOM],
    len: usize,
    /// All of the text, once it is longer than the room.
    heap: Vec<u8>,
    whole: bool,
}

impl Text {
    /// Writes a value; where memory ends, so does the text.
    pub(crate) fn of(value: impl Display) -> Text {
        let mut text = Text { room: [0; ROOM], len: 0, heap: Vec::new(), whole: true };
        text.whole = write!(text, "{value}").is_ok();
        text
    }

    /// Returns as much of the text as there was memory for: enough for an error or a warning.
    pub(crate) fn as_str(&self) -> &str {
        let bytes = if self.heap.is_empty() { &self.room[..self.len] } else { &self.heap };
        // Whole parts were written.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Returns the text unless it had to be cut.
    pub(crate) fn whole(&self) -> Outcome<&str> {
        if self.whole { Ok(self.as_str()) } else { Err(none_for("a text")) }
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let part = part.as_bytes();
        if self.heap.is_empty()
            && let Some(room) = self.room[self.len..].get_mut(..part.len())
        {
            room.copy_from_slice(part);
            self.len += part.len();
            return Ok(());
        }
        let begun = if self.heap.is_empty() { &self.room[..self.len] } else { &[] };
        self.heap.try_reserve(begun.len() + part.len()).map_err(|_| fmt::Error)?;
        self.heap.extend_from_slice(begun);
        self.heap.extend_from_slice(part);
        Ok(())
    }
}

/// A text of our own JavaScript, a thread's name or an error's kind, in place: a copy needs no memory.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Short {
    bytes: [u8; Short::ROOM],
    len: usize,
}

impl Short {
    /// Node-API writes a NUL behind a text.
    pub(crate) const ROOM: usize = 32;

    /// Takes the first `len` bytes, which must be UTF-8.
    pub(crate) fn new(bytes: [u8; Short::ROOM], len: usize) -> Option<Short> {
        std::str::from_utf8(bytes.get(..len)?).ok()?;
        Some(Short { bytes, len })
    }

    /// Copies a text that is known to fit.
    pub(crate) const fn of(text: &str) -> Short {
        let mut bytes = [0; Short::ROOM];
        let (room, _) = bytes.split_at_mut(text.len());
        room.copy_from_slice(text.as_bytes());
        Short { bytes, len: text.len() }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_whole_however_long() {
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM] {
            let long = "x".repeat(length);
            let text = Text::of(format_args!("{long}é{}", 7));
            assert_eq!(text.whole().ok(), Some(format!("{long}é7").as_str()));
        }
    }

    #[test]
    fn short_texts_are_copied_whole_or_refused() {
        const MAIN: Short = Short::of("main");
        assert_eq!(MAIN.as_str(), "main");
        assert_eq!(Short::default().as_str(), "");
        let mut bytes = [0; Short::ROOM];
        bytes[..3].copy_from_slice("aé".as_bytes());
        assert_eq!(Short::new(bytes, 3), Some(Short::of("aé")));
        assert_eq!(Short::new(bytes, 2), None);
        assert_eq!(Short::new(bytes, Short::ROOM + 1), None);
    }
}

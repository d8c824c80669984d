//! Makes the texts that the bindings hand to their languages, where the heap may refuse: whoever runs out of memory gets
//! an error, and the process goes on. The bindings of this repository use it; it is no part of the interface.

use std::fmt::{self, Display, Write};

/// How many bytes need no heap: an error's message, a place, a name.
pub const ROOM: usize = 1000;

/// A text that stands in place up to [`ROOM`] bytes, and on the heap beyond.
///
/// *Thread-safe.* *Fork:* plain data.
pub struct Text {
    room: [u8; ROOM],
    len: usize,
    /// All of the text, once it is longer than the room.
    heap: Vec<u8>,
    whole: bool,
}

impl Text {
    /// Writes a value; where memory ends, so does the text.
    pub fn of(value: impl Display) -> Text {
        let mut text = Text { room: [0; ROOM], len: 0, heap: Vec::new(), whole: true };
        text.whole = write!(text, "{value}").is_ok();
        text
    }

    /// Returns as much of the text as there was memory for: enough for an error or a warning.
    pub fn as_str(&self) -> &str {
        let bytes = if self.heap.is_empty() { &self.room[..self.len] } else { &self.heap };
        // Whole parts were written.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Returns the text unless it had to be cut.
    pub fn whole(&self) -> Option<&str> {
        self.whole.then_some(self.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_whole_however_long() {
        for length in [0, 1, ROOM - 3, ROOM - 2, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM] {
            let long = "x".repeat(length);
            let text = Text::of(format_args!("{long}é{}{long}", 7));
            let wanted = format!("{long}é7{long}");
            assert_eq!((text.as_str(), text.whole()), (wanted.as_str(), Some(wanted.as_str())));
        }
    }

    #[test]
    fn a_text_that_ends_early_says_so() {
        struct Ends;
        impl Display for Ends {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("begun")?;
                Err(fmt::Error)
            }
        }
        let text = Text::of(Ends);
        assert_eq!((text.as_str(), text.whole()), ("begun", None));
    }
}

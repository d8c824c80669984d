//! Keeps short texts in place; longer ones are core's [`Text`](millpond::text::Text).

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

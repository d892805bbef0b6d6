//! A reader of TLS structures: big-endian numbers and length-prefixed vectors (RFC 8446, 3).

/// What is left of a structure. Every method takes from its front, or fails and takes nothing that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector whose length has one byte.
    pub(super) fn short_vector(&mut self) -> Option<Self> {
        let len = self.u8()?;
        self.take(usize::from(len)).map(Self)
    }

    /// A vector whose length has two bytes.
    pub(super) fn vector(&mut self) -> Option<Self> {
        let len = self.u16()?;
        self.take(usize::from(len)).map(Self)
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// What is left, as 16-bit numbers; an odd byte at the end is not one.
    pub(super) fn numbers(self) -> impl Iterator<Item = u16> + 'a {
        self.0.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes))
    }
}

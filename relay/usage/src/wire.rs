//! Fixed big-endian fields, and where reading them went wrong.

use crate::Error;

/// Reads fields one after the other. Every error names the field and its offset.
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, field: &'static str, needed: usize) -> Result<&'a [u8], Error> {
        let left = self.bytes.len() - self.at;
        if needed > left {
            return Err(Error::Truncated { field, offset: self.at, needed, left });
        }
        let taken = &self.bytes[self.at..self.at + needed];
        self.at += needed;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, Error> {
        self.array(field).map(u128::from_be_bytes)
    }

    /// A flag byte: 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, Error> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.bad(field, 1, value.into(), "expected 0 or 1")),
        }
    }

    /// Text behind a 16-bit length of at most `max_bytes`.
    pub(crate) fn text(&mut self, field: &'static str, max_bytes: usize) -> Result<&'a str, Error> {
        let length = usize::from(self.u16(field)?);
        if length > max_bytes {
            return Err(self.bad(field, 2, length as u64, "text is too long"));
        }
        let offset = self.at;
        std::str::from_utf8(self.take(field, length)?).map_err(|_| Error::NotUtf8 { field, offset })
    }

    /// The error for a value of `width` bytes that was just read.
    pub(crate) fn bad(
        &self,
        field: &'static str,
        width: usize,
        value: u64,
        why: &'static str,
    ) -> Error {
        Error::BadValue { field, offset: self.at - width, value, why }
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(Error::TrailingBytes { offset: self.at, left }),
        }
    }
}

/// Appends big-endian fields to a buffer.
pub(crate) struct Encoder<'a>(pub(crate) &'a mut Vec<u8>);

impl Encoder<'_> {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
}

//! Writing JSON into a buffer.

use bytes::{BufMut, BytesMut};

use super::Raw;

/// An object being written. Commas are its business; [`Object::end`] closes it.
pub(crate) struct Object<'b> {
    out: &'b mut BytesMut,
    empty: bool,
}

/// An array being written.
pub(crate) struct Array<'b> {
    out: &'b mut BytesMut,
    empty: bool,
}

impl<'b> Object<'b> {
    /// Opens an object.
    pub(crate) fn new(out: &'b mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, empty: true }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        put_string(self.out, key);
        self.out.put_u8(b':');
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.put_u8(b',');
        }
        self.empty = false;
    }

    /// A member whose value is already JSON.
    pub(crate) fn json(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.out.put_slice(value.as_bytes());
        self
    }

    /// A member whose value is already JSON, if there is one.
    pub(crate) fn raw(&mut self, key: &str, value: Option<Raw<'_>>) -> &mut Self {
        if let Some(value) = value {
            self.json(key, value.text());
        }
        self
    }

    /// Members that are already JSON, as `"key":value` text.
    pub(crate) fn spliced(&mut self, member: &[u8]) -> &mut Self {
        self.comma();
        self.out.put_slice(member);
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        put_string(self.out, value);
        self
    }

    pub(crate) fn count(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.out.put_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    pub(crate) fn integer(&mut self, key: &str, value: i64) -> &mut Self {
        self.key(key);
        self.out.put_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.json(key, if value { "true" } else { "false" })
    }

    pub(crate) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(key);
        let mut object = Object::new(self.out);
        fill(&mut object);
        object.end();
        self
    }

    pub(crate) fn array(&mut self, key: &str, fill: impl FnOnce(&mut Array<'_>)) -> &mut Self {
        self.key(key);
        let mut array = Array::new(self.out);
        fill(&mut array);
        array.end();
        self
    }

    /// A string member whose content `fill` writes, already escaped.
    pub(crate) fn quoted(&mut self, key: &str, fill: impl FnOnce(&mut BytesMut)) -> &mut Self {
        self.key(key);
        self.out.put_u8(b'"');
        fill(self.out);
        self.out.put_u8(b'"');
        self
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.put_u8(b'}');
    }
}

impl<'b> Array<'b> {
    /// Opens an array.
    pub(crate) fn new(out: &'b mut BytesMut) -> Self {
        out.put_u8(b'[');
        Self { out, empty: true }
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.put_u8(b',');
        }
        self.empty = false;
    }

    pub(crate) fn json(&mut self, value: &str) -> &mut Self {
        self.comma();
        self.out.put_slice(value.as_bytes());
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.comma();
        put_string(self.out, value);
        self
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.comma();
        let mut object = Object::new(self.out);
        fill(&mut object);
        object.end();
        self
    }

    /// Closes the array.
    pub(crate) fn end(self) {
        self.out.put_u8(b']');
    }
}

/// A string with quotes, escaped as far as JSON demands.
pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    put_escaped(out, text);
    out.put_u8(b'"');
}

/// The inside of a string, escaped as far as JSON demands.
fn put_escaped(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"\\u00",
            _ => continue,
        };
        out.put_slice(bytes.get(start..at).unwrap_or_default());
        out.put_slice(escape);
        if escape.len() == 4 {
            out.put_u8(HEX[usize::from(byte >> 4)]);
            out.put_u8(HEX[usize::from(byte & 15)]);
        }
        start = at + 1;
    }
    out.put_slice(bytes.get(start..).unwrap_or_default());
}

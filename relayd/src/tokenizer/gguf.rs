//! Reads the tokenizer out of a GGUF file's metadata; the tensors behind it are never read.
//!
//! The layout is that of ggml's specification, versions 2 and 3, little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Most entries of the metadata; known files have below a hundred.
const ENTRIES_MAX: u64 = 65_536;

/// Longest text, in bytes: a chat template is some ten thousand.
const TEXT_MAX_BYTES: u64 = 1024 * 1024;

/// Most elements of one list: the largest vocabularies have below 300,000 tokens and 600,000
/// merges.
const ELEMENTS_MAX: u64 = 4_000_000;

/// What a file says of its tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// `tokenizer.ggml.model`: the family, `gpt2` for byte-level BPE.
    pub(super) model: String,
    /// `tokenizer.ggml.pre`: how text is cut before merging.
    pub(super) pre: String,
    /// The tokens by their ids.
    pub(super) tokens: Vec<String>,
    /// Their types, as ggml numbers them; empty where the file has none.
    pub(super) types: Vec<i32>,
    /// The merges, best first: two pieces with a space between them.
    pub(super) merges: Vec<String>,
}

/// The numbers by which a file names the types of values.
mod kind {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const TEXT: u32 = 8;
    pub(super) const LIST: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

struct Reader<R>(R);

/// Reads the tokenizer of a file. Blocks.
///
/// # Errors
/// When the file cannot be read or is no GGUF file.
pub(super) fn read(path: &Path) -> io::Result<Vocabulary> {
    let mut reader = Reader(BufReader::new(File::open(path)?));
    reader.vocabulary()
}

impl<R: Read + Seek> Reader<R> {
    fn vocabulary(&mut self) -> io::Result<Vocabulary> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err(wrong("it is no GGUF file"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(wrong(&format!("GGUF version {version} is not known")));
        }
        let _tensors = self.u64()?;
        let entries = bounded(self.u64()?, ENTRIES_MAX, "entries")?;
        let mut found = Vocabulary::default();
        for _ in 0..entries {
            let key = self.text()?;
            let of = self.u32()?;
            match (key.as_str(), of) {
                ("tokenizer.ggml.model", kind::TEXT) => found.model = self.text()?,
                ("tokenizer.ggml.pre", kind::TEXT) => found.pre = self.text()?,
                ("tokenizer.ggml.tokens", kind::LIST) => found.tokens = self.texts()?,
                ("tokenizer.ggml.merges", kind::LIST) => found.merges = self.texts()?,
                ("tokenizer.ggml.token_type", kind::LIST) => found.types = self.numbers()?,
                _ => self.skip(of)?,
            }
        }
        Ok(found)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> io::Result<String> {
        let length = bounded(self.u64()?, TEXT_MAX_BYTES, "bytes of a text")?;
        let mut bytes = Vec::new();
        let read = self.0.by_ref().take(length).read_to_end(&mut bytes)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        String::from_utf8(bytes).map_err(|_| wrong("a text is not UTF-8"))
    }

    fn list(&mut self) -> io::Result<(u32, u64)> {
        Ok((self.u32()?, bounded(self.u64()?, ELEMENTS_MAX, "elements of a list")?))
    }

    fn texts(&mut self) -> io::Result<Vec<String>> {
        match self.list()? {
            (kind::TEXT, count) => (0..count).map(|_| self.text()).collect(),
            _ => Err(wrong("a list of texts holds something else")),
        }
    }

    fn numbers(&mut self) -> io::Result<Vec<i32>> {
        match self.list()? {
            (kind::I32 | kind::U32, count) => {
                (0..count).map(|_| self.bytes().map(i32::from_le_bytes)).collect()
            }
            _ => Err(wrong("a list of numbers holds something else")),
        }
    }

    fn skip(&mut self, of: u32) -> io::Result<()> {
        match of {
            kind::TEXT => self.text().map(drop),
            kind::LIST => match self.list()? {
                (kind::LIST, _) => Err(wrong("a list of lists")),
                (kind::TEXT, count) => (0..count).try_for_each(|_| self.text().map(drop)),
                (of, count) => self.pass(width(of)?.saturating_mul(count)),
            },
            of => self.pass(width(of)?),
        }
    }

    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| wrong("a value without end"))?;
        self.0.seek(SeekFrom::Current(bytes)).map(drop)
    }
}

/// Bytes of a value of a fixed size.
fn width(of: u32) -> io::Result<u64> {
    match of {
        kind::U8 | kind::I8 | kind::BOOL => Ok(1),
        kind::U16 | kind::I16 => Ok(2),
        kind::U32 | kind::I32 | kind::F32 => Ok(4),
        kind::U64 | kind::I64 | kind::F64 => Ok(8),
        other => Err(wrong(&format!("a value of the unknown type {other}"))),
    }
}

fn bounded(count: u64, most: u64, what: &str) -> io::Result<u64> {
    if count <= most {
        return Ok(count);
    }
    Err(wrong(&format!("{count} {what}, at most {most} are read")))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A file with nothing but a tokenizer.
    pub(in crate::tokenizer) fn file(pre: &str, tokens: &[&str], merges: &[&str]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend(0_u64.to_le_bytes());
        out.extend(6_u64.to_le_bytes());
        text(&mut out, "general.alignment");
        out.extend(kind::U32.to_le_bytes());
        out.extend(32_u32.to_le_bytes());
        for (key, value) in [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", pre)] {
            text(&mut out, key);
            out.extend(kind::TEXT.to_le_bytes());
            text(&mut out, value);
        }
        text(&mut out, "tokenizer.ggml.scores");
        out.extend(kind::LIST.to_le_bytes());
        out.extend(kind::F32.to_le_bytes());
        out.extend(2_u64.to_le_bytes());
        out.extend([0; 8]);
        for (key, list) in [("tokenizer.ggml.tokens", tokens), ("tokenizer.ggml.merges", merges)] {
            text(&mut out, key);
            out.extend(kind::LIST.to_le_bytes());
            out.extend(kind::TEXT.to_le_bytes());
            out.extend((list.len() as u64).to_le_bytes());
            list.iter().for_each(|one| text(&mut out, one));
        }
        out
    }

    #[test]
    fn the_tokenizer_is_found_among_everything_else() {
        let found = Reader(Cursor::new(file("gpt-2", &["a", "b", "ab"], &["a b"])));
        let found = { found }.vocabulary().unwrap();
        assert_eq!((found.model.as_str(), found.pre.as_str()), ("gpt2", "gpt-2"));
        assert_eq!((found.tokens.len(), found.merges), (3, vec!["a b".to_owned()]));
    }

    #[test]
    fn a_broken_file_is_an_error_wherever_it_ends() {
        let whole = file("gpt-2", &["a", "b"], &["a b"]);
        for end in 0..whole.len() {
            assert!(Reader(Cursor::new(&whole[..end])).vocabulary().is_err(), "{end}");
        }
        let mut absurd = whole;
        absurd[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(
            Reader(Cursor::new(absurd)).vocabulary().unwrap_err().to_string().contains("entries")
        );
    }
}

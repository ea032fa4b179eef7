//! A hash that is the same on every machine and in every version, so that replicas that know
//! nothing of one another send the same prompt to the same backend.

/// FNV-1a over bytes, mixed at the end: its own upper bits alone hardly change with the last bytes.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Hasher {
    /// Nothing hashed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OFFSET)
    }

    /// Takes one part. Parts are told apart: `ab`, `c` is not `a`, `bc`.
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        let end = self.0 ^ 0xff;
        Self(mix(end.wrapping_add(bytes.len() as u64)))
    }

    /// The hash of all parts.
    #[must_use]
    pub const fn end(self) -> u64 {
        mix(self.0)
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Spreads every bit over all others (the finaliser of splitmix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart_and_the_value_never_changes() {
        let of = |parts: &[&str]| {
            parts.iter().fold(Hasher::new(), |hash, part| hash.part(part.as_bytes())).end()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["model", "prompt"]), of(&["model", "prompt"]));
    }
}
